/** The list of models: search, rows, and what to do when there are none. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { addIcon, refreshIcon, searchIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { formatAge, formatSize } from '../format';
import { archiveIcon } from '../icons';
import type { IModelList } from '../model';
import type { IModel } from '../schema';
import { Busy, Button, Chip, Failure, moveFocus, takeLostFocus } from './parts';

/** Two cells: the first once a notebook, the second trains, and its value becomes a registered version. */
const CELLS = ['%load_ext jupyter_modelreg', '%%model_register my-model\nLogisticRegression().fit(X, y)'];

export interface IModelsProps {
  trans: TranslationBundle;
  list: IModelList;
  /** The model that was looked at last; its row gets the focus. */
  focused?: string;
  onSearch: (text: string) => void;
  onShowArchived: (showsArchived: boolean) => void;
  onShowMore: () => void;
  onOpen: (model: IModel) => void;
  onDrag: (model: IModel, event: React.MouseEvent<HTMLElement>) => void;
  onRegister: () => void;
  onRefresh: () => void;
}

export function Models(props: IModelsProps): JSX.Element {
  const { trans } = props;
  return (
    <div className="jp-modelreg-Page">
      <SearchRow {...props} />
      {[...props.list.registering].map(name => (
        <Busy key={name} label={trans.__('Registering %1 …', name)} />
      ))}
      {props.list.error && <Failure error={props.list.error} trans={trans} />}
      {!props.list.isLoaded && !props.list.error && <Busy label={trans.__('Loading models …')} />}
      {props.list.isLoaded && !props.list.models.length && <NoModels {...props} />}
      <ModelRows {...props} />
      {props.list.hasMore && (
        <Button label={trans.__('Show more')} text={trans.__('Show more')} onClick={props.onShowMore} />
      )}
    </div>
  );
}

function SearchRow(props: IModelsProps): JSX.Element {
  const { trans } = props;
  return (
    <div className="jp-modelreg-Search" role="search">
      <label className="jp-modelreg-Search-box">
        <searchIcon.react tag="span" className="jp-modelreg-Icon" />
        <input
          type="text"
          className="jp-modelreg-Search-input"
          aria-label={trans.__('Search models')}
          title={trans.__('A part of a name, a description, a stage, or a tag such as key=value')}
          placeholder={trans.__('Search models')}
          spellCheck={false}
          value={props.list.search}
          onChange={event => props.onSearch(event.target.value)}
          onKeyDown={goToRows}
        />
        {props.list.isBusy && <span className="jp-modelreg-Spinner" />}
      </label>
      <Button
        icon={archiveIcon}
        label={trans.__('Show archived models')}
        isPressed={props.list.showsArchived}
        onClick={() => props.onShowArchived(!props.list.showsArchived)}
      />
      <Button icon={refreshIcon} label={trans.__('Refresh')} onClick={props.onRefresh} />
      <Button icon={addIcon} label={trans.__('Register model')} onClick={props.onRegister} />
    </div>
  );
}

/** From the search box the down arrow leads to the first row. */
function goToRows(event: React.KeyboardEvent<HTMLElement>): void {
  if (event.key === 'ArrowDown') {
    const page = event.currentTarget.closest('.jp-modelreg-Page');
    page?.querySelector<HTMLElement>('.jp-modelreg-Row-open')?.focus();
    event.preventDefault();
  }
}

function NoModels(props: IModelsProps): JSX.Element {
  const { trans } = props;
  if (props.list.search.trim()) {
    return (
      <p className="jp-modelreg-Empty" role="status">
        {trans.__('No model fits “%1”.', props.list.search)}
      </p>
    );
  }
  return (
    <div className="jp-modelreg-Empty">
      <p>{trans.__('No models yet. Train one in a notebook cell, and it is registered:')}</p>
      {CELLS.map(cell => (
        <pre key={cell}>{cell}</pre>
      ))}
      <p>{trans.__('Or take what you have:')}</p>
      <Button
        isAccent
        label={trans.__('Register a file or folder')}
        text={trans.__('Register a file or folder')}
        onClick={props.onRegister}
      />
    </div>
  );
}

function ModelRows(props: IModelsProps): JSX.Element {
  return (
    <ul className="jp-modelreg-Rows" aria-label={props.trans.__('Models')} onKeyDown={moveFocus}>
      {props.list.models.map((model, index) => (
        <ModelRow
          key={model.name}
          model={model}
          title={model.name ?? ''}
          note={props.trans.__('v%1', model.version)}
          trans={props.trans}
          isFirst={index === 0}
          isFocused={model.name === props.focused}
          onOpen={props.onOpen}
          onDrag={props.onDrag}
        />
      ))}
    </ul>
  );
}

export interface IModelRowProps {
  trans: TranslationBundle;
  model: IModel;
  title: string;
  note?: string;
  /** The row that Tab reaches; arrow keys reach the others. */
  isFirst: boolean;
  isFocused?: boolean;
  isCurrent?: boolean;
  onOpen: (model: IModel) => void;
  onDrag?: (model: IModel, event: React.MouseEvent<HTMLElement>) => void;
}

/** One model or version: its name, and below it what one wants to know before opening it. */
export function ModelRow(props: IModelRowProps): JSX.Element {
  const { model, trans } = props;
  const button = React.useRef<HTMLButtonElement>(null);
  React.useEffect(() => {
    if (props.isFocused) {
      takeLostFocus(button.current);
    }
  }, []);
  const tags = Object.entries(model.tags ?? {});
  const age = formatAge(model.creation_context?.created_at);
  const facts = [model.flavor ?? model.type, formatSize(model.size_bytes), age];
  return (
    <li
      className="jp-modelreg-Row"
      data-modelreg-name={model.name}
      data-modelreg-version={model.version}
      data-modelreg-archived={model.is_archived || undefined}
    >
      <button
        ref={button}
        type="button"
        className="jp-modelreg-Row-open"
        tabIndex={props.isFirst || props.isFocused ? 0 : -1}
        aria-current={props.isCurrent}
        title={props.title}
        onClick={() => props.onOpen(model)}
        onMouseDown={event => props.onDrag?.(model, event)}
      >
        <span className="jp-modelreg-Row-line">
          <span className="jp-modelreg-Row-title">{props.title}</span>
          {props.note && <span className="jp-modelreg-Note">{props.note}</span>}
          <span className="jp-modelreg-Space" />
          {model.is_archived && <Chip text={trans.__('archived')} kind="warn" />}
          {model.stage && <Chip text={model.stage} kind="stage" />}
        </span>
        <span className="jp-modelreg-Row-line jp-modelreg-Note">{facts.filter(Boolean).join(' · ')}</span>
        {tags.length > 0 && (
          <span className="jp-modelreg-Row-line">
            {tags.map(([key, value]) => (
              <Chip key={key} text={value ? `${key}=${value}` : key} />
            ))}
          </span>
        )}
      </button>
    </li>
  );
}
