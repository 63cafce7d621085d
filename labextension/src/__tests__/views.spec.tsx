/**
 * @jest-environment jsdom
 */

import { afterEach, expect, jest, test } from '@jest/globals';
import { nullTranslator } from '@jupyterlab/translation';
import * as React from 'react';
import { createRoot, Root } from 'react-dom/client';

import { CallError } from '../call';
import type { IModelList } from '../model';
import { Editable, Tags } from '../views/fields';
import { Models } from '../views/models';
import { Failure } from '../views/parts';
import { ENABLE_COMMAND, ServerMessage } from '../views/server';
import { Verdict } from '../views/version';

(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;
const { act } = React;
const trans = nullTranslator.load('');
const roots: Root[] = [];

function show(element: JSX.Element): HTMLElement {
  const host = document.body.appendChild(document.createElement('div'));
  const root = createRoot(host);
  roots.push(root);
  act(() => root.render(element));
  return host;
}

function button(host: HTMLElement, name: string): HTMLButtonElement {
  const found = [...host.querySelectorAll('button')].find(
    item => item.getAttribute('aria-label') === name || item.textContent === name
  );
  if (!found) {
    throw new Error(`There is no button "${name}" in ${host.innerHTML}`);
  }
  return found;
}

function type(field: HTMLInputElement | HTMLTextAreaElement | null, text: string): void {
  const kind = field instanceof HTMLTextAreaElement ? HTMLTextAreaElement : HTMLInputElement;
  const setValue = Object.getOwnPropertyDescriptor(kind.prototype, 'value')?.set;
  act(() => {
    setValue?.call(field, text);
    field?.dispatchEvent(new Event('input', { bubbles: true }));
  });
}

function press(node: Element | null, key: string, options: KeyboardEventInit = {}): void {
  act(() => void node?.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, ...options })));
}

afterEach(() => {
  act(() => roots.splice(0).forEach(root => root.unmount()));
  document.body.replaceChildren();
});

function models(list: Partial<IModelList>, onOpen = jest.fn()): JSX.Element {
  const full: IModelList = {
    models: [],
    search: '',
    showsArchived: false,
    hasMore: false,
    isBusy: false,
    isLoaded: true,
    error: null,
    registering: new Set(),
    ...list
  };
  const idle = (): void => undefined;
  const callbacks = { onSearch: idle, onShowArchived: idle, onShowMore: idle, onDrag: idle, onRegister: idle };
  return <Models trans={trans} list={full} {...callbacks} onRefresh={idle} onOpen={onOpen} />;
}

test('an empty registry shows the cell that fills it', () => {
  expect(show(models({})).textContent).toContain('%%model_register');
});

test('a search that nothing fits says so', () => {
  const { textContent } = show(models({ search: 'zebra' }));
  expect(textContent).toContain('No model fits “zebra”.');
  expect(textContent).not.toContain('%%model_register');
});

test('a row tells what one wants to know before opening it', () => {
  const model = {
    name: 'churn',
    version: '3',
    flavor: 'sklearn',
    size_bytes: 21_313,
    stage: 'Production',
    tags: { team: 'risk', reviewed: '' },
    is_archived: true
  };
  const host = show(models({ models: [model] }));
  for (const word of ['churn', 'v3', 'sklearn · 21.3 kB', 'Production', 'team=risk', 'reviewed', 'archived']) {
    expect(host.textContent).toContain(word);
  }
});

test('rows are reached by the arrow keys, and by one stop of the Tab key', () => {
  const host = show(models({ models: ['a', 'b', 'c'].map(name => ({ name, version: '1' })) }));
  const rows = [...host.querySelectorAll<HTMLElement>('.jp-modelreg-Row-open')];
  expect(rows.map(row => row.tabIndex)).toEqual([0, -1, -1]);
  rows[0].focus();
  const reached = ['ArrowDown', 'End', 'ArrowDown', 'ArrowUp', 'Home'].map(key => {
    press(document.activeElement, key);
    return rows.indexOf(document.activeElement as HTMLElement);
  });
  expect(reached).toEqual([1, 2, 2, 1, 0]);
});

test('the down arrow leads from the search box to the first row', () => {
  const host = show(models({ models: ['a', 'b'].map(name => ({ name, version: '1' })) }));
  press(host.querySelector('input'), 'ArrowDown');
  expect(document.activeElement).toBe(host.querySelector('.jp-modelreg-Row-open'));
});

test('a row opens its version', () => {
  const onOpen = jest.fn();
  const model = { name: 'churn', version: '3' };
  const host = show(models({ models: [model] }, onOpen));
  act(() => host.querySelector<HTMLElement>('.jp-modelreg-Row-open')?.click());
  expect(onOpen).toHaveBeenCalledWith(model);
});

test('a failure is one line with its detail folded', () => {
  const host = show(
    <Failure trans={trans} error={new CallError(503, 'Unavailable', 'It did not start.', 'Traceback')} />
  );
  expect(host.querySelector('[role=alert]')?.textContent).toContain('It did not start.');
  expect(host.querySelector('details')?.open).toBe(false);
  expect(host.querySelector('details pre')?.textContent).toBe('Traceback');
});

test.each([
  ['data-only', 'jp-mod-data-only'],
  ['blocked', 'jp-mod-blocked'],
  [undefined, 'jp-mod-not-inspected']
])('the verdict %s is shown as %s, with what was found', (verdict, name) => {
  const host = show(<Verdict trans={trans} scan={verdict ? { verdict, findings: ['m.pkl: os.system'] } : undefined} />);
  expect(host.querySelector(`.${name}`)?.textContent).toContain(verdict ? 'm.pkl: os.system' : 'inspected');
});

test('a text is saved by Ctrl+Enter and left by Escape', () => {
  const onSave = jest.fn();
  const host = show(
    <Editable isLong trans={trans} label="Description" editLabel="Edit description" value="old" onSave={onSave} />
  );
  act(() => button(host, 'Edit description').click());
  type(host.querySelector('textarea'), 'thrown away');
  press(host.querySelector('textarea'), 'Escape');
  expect([host.querySelector('textarea'), onSave.mock.calls]).toEqual([null, []]);
  act(() => button(host, 'Edit description').click());
  type(host.querySelector('textarea'), ' new ');
  press(host.querySelector('textarea'), 'Enter');
  press(host.querySelector('textarea'), 'Enter', { ctrlKey: true });
  expect(onSave.mock.calls).toEqual([['new']]);
});

test('a text that was not changed is not saved', () => {
  const onSave = jest.fn();
  const host = show(<Editable trans={trans} label="Stage" editLabel="Edit stage" value="Staging" onSave={onSave} />);
  act(() => button(host, 'Edit stage').click());
  act(() => button(host, 'Save').click());
  expect(onSave).not.toHaveBeenCalled();
});

test('tags are added by a form and removed by name', () => {
  const onSet = jest.fn();
  const onRemove = jest.fn();
  const host = show(<Tags trans={trans} tags={{ stage: 'dev' }} onSet={onSet} onRemove={onRemove} />);
  expect(button(host, 'Add tag').disabled).toBe(true);
  type(host.querySelector('input'), 'team=risk');
  act(() => button(host, 'Add tag').click());
  act(() => button(host, 'Remove tag stage').click());
  expect([onSet.mock.calls, onRemove.mock.calls]).toEqual([[['team=risk']], [['stage']]]);
});

test('a missing server part is answered with the command that mends it', () => {
  const error = new CallError(404, 'ServerMissing', 'Not Found');
  const host = show(<ServerMessage trans={trans} error={error} version="0.1.0" onRetry={() => undefined} />);
  expect(host.querySelector('[role=alert]')?.textContent).toContain(ENABLE_COMMAND);
});

test('versions that differ are both named, equal ones are not', () => {
  const message = (serverVersion: string): string =>
    show(
      <ServerMessage
        trans={trans}
        error={null}
        serverVersion={serverVersion}
        version="0.1.0"
        onRetry={() => undefined}
      />
    ).textContent ?? '';
  expect(message('0.1.0')).toBe('');
  expect(message('0.2.0')).toContain('version 0.1.0, its server part 0.2.0');
});
