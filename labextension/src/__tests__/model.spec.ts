import { afterEach, expect, test } from '@jest/globals';
import type { Event } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';

import { CallError } from '../call';
import { PAGE_SIZE, RegistryModel } from '../model';
import { CHANGE_EVENT } from '../tokens';
import { Failing, IRequest, MemoryServer, pause, until } from './server';

const NOT_FOUND = new Failing(404, { error: 'NotFound', message: 'It is gone.', detail: '' });
const made: RegistryModel[] = [];

function open(): { server: MemoryServer; events: Signal<object, Event.Emission>; registry: RegistryModel } {
  const server = new MemoryServer();
  const events = new Signal<object, Event.Emission>({});
  const registry = new RegistryModel({ serverSettings: server.settings, version: '0.1.0', events });
  made.push(registry);
  return { server, events, registry };
}

afterEach(() => {
  made.splice(0).forEach(registry => registry.dispose());
});

function modelsOf(count: number): { name: string; version: string }[] {
  return Array.from({ length: count }, (_, index) => ({ name: `model-${index}`, version: '1' }));
}

/** Answer as the server does: at most as many as were asked for. */
function listOf(count: number): (request: IRequest) => unknown {
  return ({ query }) => modelsOf(count).slice(0, Number(query.get('max_results')));
}

test('the server is polled while somebody looks, and only then', async () => {
  const { server, registry } = open();
  registry.setPollSeconds(0.02);
  await pause(60);
  expect(server.requests).toEqual([]);
  const watching = registry.watch();
  await until(() => server.count('model/list') > 2);
  watching.dispose();
  await until(() => !registry.isBusy);
  await pause(60);
  const { length } = server.requests;
  await pause(60);
  expect(server.requests).toHaveLength(length);
});

test('a page is shown, and more on request', async () => {
  const { server, registry } = open();
  server.answers['model/list'] = listOf(PAGE_SIZE + 50);
  await registry.refresh();
  expect([registry.models.length, registry.hasMore]).toEqual([PAGE_SIZE, true]);
  await registry.showMore();
  expect([registry.models.length, registry.hasMore]).toEqual([PAGE_SIZE + 50, false]);
});

test('typing a word asks the server once, for the whole word, from the first page on', async () => {
  const { server, registry } = open();
  server.answers['model/list'] = listOf(1000);
  await registry.showMore();
  for (const text of ['c', 'ch', 'churn ']) {
    registry.setSearch(text);
  }
  expect(registry.isBusy).toBe(true);
  await until(() => !registry.isBusy);
  expect(server.count('model/list')).toBe(2);
  const { query } = server.last('model/list');
  expect([query.get('search'), query.get('max_results')]).toEqual(['churn', String(PAGE_SIZE + 1)]);
});

test('archived models are listed on demand', async () => {
  const { server, registry } = open();
  await registry.setShowsArchived(true);
  expect(server.last('model/list').query.get('include_archived')).toBe('true');
});

test('calls that come while one is under way are served by one more', async () => {
  const { server, registry } = open();
  await Promise.all(Array.from({ length: 10 }, () => registry.refresh()));
  expect(server.count('model/list')).toBe(2);
});

test("the server's event is followed at once, other events are not", async () => {
  const { server, events, registry } = open();
  await registry.refresh();
  server.answers['model/list'] = modelsOf(3);
  events.emit({ schema_id: 'https://events.jupyter.org/other' });
  events.emit({ schema_id: CHANGE_EVENT, change: 2 });
  await until(() => registry.models.length === 3);
  expect(server.count('model/list')).toBe(2);
});

test('a missing server part is named, and found again when it is there', async () => {
  const { server, registry } = open();
  const { status } = server.answers;
  delete server.answers.status;
  await registry.refresh();
  expect([registry.error?.error, registry.isLoaded]).toEqual(['ServerMissing', false]);
  server.answers.status = status;
  await registry.refresh();
  expect([registry.error, registry.isLoaded, registry.status?.version]).toEqual([null, true, '0.1.0']);
});

test('what was listed stays while the server does not answer', async () => {
  const { server, registry } = open();
  server.answers['model/list'] = modelsOf(2);
  await registry.refresh();
  server.isDown = true;
  await registry.refresh();
  expect([registry.error?.error, registry.models.length]).toEqual(['NoAnswer', 2]);
});

test('an endpoint comes with the deployment behind it, also when that is gone since', async () => {
  const { server, registry } = open();
  server.answers['online-endpoint/list'] = [{ name: 'one' }, { name: 'two' }];
  server.answers['online-deployment/list'] = ({ query }: IRequest) =>
    query.get('endpoint_name') === 'one' ? [{ name: 'default', model: 'azureml:churn:3' }] : NOT_FOUND;
  await registry.refresh();
  expect(registry.endpoints.map(row => row.deployment?.model)).toEqual(['azureml:churn:3', undefined]);
});

test('deploying is shown while it lasts, and opens the endpoint', async () => {
  const { server, registry } = open();
  const pending: string[][] = [];
  server.answers['model/deploy'] = () => {
    pending.push([...registry.pending].flat());
    return { name: 'churn' };
  };
  await registry.deploy({ name: 'churn', version: '3' }, { endpoint_name: 'churn' }, false);
  expect(pending).toEqual([['churn', 'churn:3']]);
  expect(registry.pending.size).toBe(0);
  expect(server.last('model/deploy').command).toEqual({
    name: 'churn',
    version: '3',
    endpoint_name: 'churn',
    trust: false,
    no_wait: true
  });
  expect(registry.openEndpoint?.name).toBe('churn');
});

test('a refused deployment leaves nothing pending and opens nothing', async () => {
  const { server, registry } = open();
  server.answers['model/deploy'] = new Failing(403, { error: 'UnsafeModel', message: 'It runs code.', detail: '' });
  await expect(
    registry.deploy({ name: 'churn', version: '3' }, { endpoint_name: 'churn' }, false)
  ).rejects.toBeInstanceOf(CallError);
  expect([registry.pending.size, registry.openEndpoint]).toEqual([0, null]);
});

test('stopping the endpoint that is open is shown and closes it', async () => {
  const { server, registry } = open();
  server.answers['online-endpoint/delete'] = { names: ['churn'] };
  server.answers['online-endpoint/list'] = [{ name: 'churn', state: 'healthy' }];
  await registry.refresh();
  registry.showEndpoint('churn');
  const stopped = registry.stop('churn');
  expect(registry.endpoints[0].endpoint.state).toBe('stopping');
  await stopped;
  expect(registry.openEndpoint).toBeNull();
});

test('restoring a version restores the model that hides it', async () => {
  const { server, registry } = open();
  const conflict = new Failing(409, { error: 'Conflict', message: 'The whole model is archived.', detail: '' });
  let isModelArchived = true;
  server.answers['model/restore'] = ({ command }: IRequest) => {
    const isWhole = !(command as { version?: string }).version;
    isModelArchived &&= !isWhole;
    return isModelArchived ? conflict : { name: 'churn' };
  };
  await registry.restore({ name: 'churn', version: '3' });
  expect(server.requests.filter(({ path }) => path === 'model/restore').map(({ command }) => command)).toEqual([
    { name: 'churn', version: '3' },
    { name: 'churn' },
    { name: 'churn', version: '3' }
  ]);
});

test('deleting the version that is open closes it before anything is read again', async () => {
  const { server, registry } = open();
  server.answers['model/show'] = { name: 'churn', version: '3' };
  server.answers['model/delete'] = { names: ['churn:3'] };
  registry.showVersion('churn', '3');
  await until(() => registry.openVersion?.model !== null);
  const shown = server.count('model/show');
  await registry.remove('churn', '3');
  expect([registry.openVersion, server.count('model/show')]).toEqual([null, shown]);
});

test('registering is shown while it lasts, and opens the version', async () => {
  const { server, registry } = open();
  const registering: string[][] = [];
  server.answers['model/create'] = () => {
    registering.push([...registry.registering]);
    return { name: 'churn', version: '4' };
  };
  await registry.register({ name: 'churn', path: 'model.onnx' });
  expect([registering, registry.registering.size]).toEqual([[['churn']], 0]);
  expect([registry.openVersion?.name, registry.openVersion?.version]).toEqual(['churn', '4']);
});
