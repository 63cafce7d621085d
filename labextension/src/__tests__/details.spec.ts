import { afterEach, expect, test } from '@jest/globals';

import { EndpointModel } from '../endpoint';
import { RegistryModel } from '../model';
import { VersionModel } from '../version';
import { Failing, MemoryServer, until } from './server';

const CONFLICT = new Failing(409, { error: 'Conflict', message: 'It is deployed.', detail: '' });
const made: { dispose(): void }[] = [];

function open(): { server: MemoryServer; registry: RegistryModel } {
  const server = new MemoryServer();
  server.answers['model/show'] = { name: 'churn', version: '3', tags: { 'a.b': '1', c: '2' }, input_example: [[7]] };
  server.answers['model/list'] = [{ version: '3' }, { version: '2' }, { version: '1' }];
  server.answers['online-endpoint/list'] = [{ name: 'churn', state: 'healthy' }];
  server.answers['online-deployment/list'] = [{ name: 'default', model: 'azureml:churn:3' }];
  const registry = new RegistryModel({ serverSettings: server.settings, version: '0.1.0' });
  made.push(registry);
  return { server, registry };
}

async function openVersion(version?: string): Promise<{ server: MemoryServer; shown: VersionModel }> {
  const { server, registry } = open();
  const shown = new VersionModel(registry, 'churn', version);
  await shown.reload();
  return { server, shown };
}

async function openEndpoint(): Promise<{ server: MemoryServer; registry: RegistryModel; endpoint: EndpointModel }> {
  const { server, registry } = open();
  const endpoint = new EndpointModel(registry, 'churn');
  made.push(endpoint);
  await registry.refresh();
  await until(() => endpoint.request !== '');
  return { server, registry, endpoint };
}

afterEach(() => {
  made.splice(0).forEach(item => item.dispose());
});

test('the latest version stays the one shown when a newer one comes', async () => {
  const { server, shown } = await openVersion();
  expect(shown.version).toBe('3');
  await shown.reload();
  expect(server.last('model/show').query.get('version')).toBe('3');
});

test('the version before is the next older one that is there', async () => {
  expect((await openVersion('3')).shown.previous?.version).toBe('2');
  const { server, shown } = await openVersion('1');
  server.answers['model/show'] = { name: 'churn', version: '1' };
  await shown.reload();
  expect(shown.previous).toBeUndefined();
});

test('texts are sent as text, and removed when they become empty', async () => {
  const { server, shown } = await openVersion('3');
  server.answers['model/show'] = { name: 'churn', version: '3', stage: 'Staging' };
  server.answers['model/update'] = {};
  await shown.reload();
  await shown.setText('description', '42 = all');
  expect(server.last('model/update').command).toEqual({
    name: 'churn',
    version: '3',
    set: ['description=42 = all'],
    force_string: true
  });
  await shown.setText('stage', '');
  expect(server.last('model/update').command).toEqual({ name: 'churn', version: '3', remove: ['stage'] });
});

test('an empty text that was empty before changes nothing', async () => {
  const { server, shown } = await openVersion('3');
  await shown.setText('description', '');
  expect(server.count('model/update')).toBe(0);
});

test('a tag is added by its words, and removed even when its key has dots', async () => {
  const { server, shown } = await openVersion('3');
  server.answers['model/update'] = {};
  await shown.setTag('x.y = a=b');
  expect(server.last('model/update').command).toMatchObject({ add: ['tags x.y=a=b'], force_string: true });
  await shown.removeTag('a.b');
  expect(server.last('model/update').command).toMatchObject({ set: ['tags={"c":"2"}'] });
});

test('a change that was refused is told, and stays told when the registry is read again', async () => {
  const { server, shown } = await openVersion('3');
  server.answers['model/update'] = CONFLICT;
  await shown.setTag('a=b');
  await shown.reload();
  expect([shown.failure?.message, shown.error, shown.isBusy]).toEqual(['It is deployed.', null, false]);
});

test('versions are compared with the one before', async () => {
  const { server, shown } = await openVersion('3');
  server.answers['model/compare'] = { first: 'churn:2', second: 'churn:3' };
  await shown.compare();
  const { query } = server.last('model/compare');
  expect([query.get('version'), query.get('other'), shown.comparison?.second]).toEqual(['2', '3', 'churn:3']);
});

test('a request starts from the example of the model that is served', async () => {
  const { endpoint } = await openEndpoint();
  expect(endpoint.request).toBe('{"input_data":[[7]]}');
});

test('what a person wrote stays when another model is served', async () => {
  const { server, registry, endpoint } = await openEndpoint();
  endpoint.setRequest('{"mine": 1}');
  server.answers['online-deployment/list'] = [{ name: 'default', model: 'azureml:churn:4' }];
  await registry.refresh();
  await until(() => server.last('model/show').query.get('version') === '4');
  expect(endpoint.request).toBe('{"mine": 1}');
});

test('an answer is shown with its milliseconds', async () => {
  const { server, endpoint } = await openEndpoint();
  server.answers['online-endpoint/invoke'] = { body: [0, 1], seconds: 0.0123 };
  await endpoint.send();
  expect(endpoint.answer).toEqual({ text: '[0,1]', milliseconds: 12.3 });
  expect(server.last('online-endpoint/invoke').command).toEqual({ name: 'churn', data: '{"input_data":[[7]]}' });
});

test('a request that fails says why, and takes the old answer away', async () => {
  const { server, registry, endpoint } = await openEndpoint();
  server.answers['online-endpoint/invoke'] = { body: 'fine', seconds: 0.1 };
  await endpoint.send();
  server.answers['online-endpoint/invoke'] = new Failing(400, { error: 'InvalidInput', message: 'No JSON.' });
  await endpoint.send();
  await registry.refresh();
  expect([endpoint.answer, endpoint.failure?.message, endpoint.isSending]).toEqual([null, 'No JSON.', false]);
});

test('keys are read on demand and forgotten', async () => {
  const { server, endpoint } = await openEndpoint();
  expect([server.count('online-endpoint/get-credentials'), endpoint.keys]).toEqual([0, null]);
  server.answers['online-endpoint/get-credentials'] = { primaryKey: 'one', secondaryKey: 'two' };
  await endpoint.showKeys();
  expect(endpoint.keys?.primaryKey).toBe('one');
  endpoint.hideKeys();
  expect(endpoint.keys).toBeNull();
});

test('a log that was opened is read on when the registry changes', async () => {
  const { server, registry, endpoint } = await openEndpoint();
  server.answers['online-deployment/get-logs'] = { text: 'Ready' };
  await registry.refresh();
  expect(server.count('online-deployment/get-logs')).toBe(0);
  await endpoint.loadLog();
  server.answers['online-deployment/get-logs'] = { text: 'Ready\nAsked' };
  await registry.refresh();
  await until(() => endpoint.log === 'Ready\nAsked');
});

test('of several deployments the one with most traffic stands for the endpoint', async () => {
  const { server, registry } = open();
  server.answers['online-endpoint/list'] = [{ name: 'churn', state: 'healthy', traffic: { blue: 10, green: 90 } }];
  server.answers['online-deployment/list'] = [
    { name: 'blue', model: 'azureml:churn:2' },
    { name: 'green', model: 'azureml:churn:3' }
  ];
  await registry.refresh();
  expect(registry.endpoints[0].deployment?.name).toBe('green');
  expect(registry.endpoints[0].deployments.map(({ name }) => name)).toEqual(['blue', 'green']);
});

const TWO = [
  { name: 'blue', model: 'azureml:churn:2' },
  { name: 'green', model: 'azureml:churn:3' }
];

test('shares are written one by one and set together', async () => {
  const { server, registry, endpoint } = await openEndpoint();
  server.answers['online-endpoint/list'] = [{ name: 'churn', state: 'healthy', traffic: { blue: 100, gone: 0 } }];
  server.answers['online-deployment/list'] = TWO;
  server.answers['online-endpoint/show'] = { name: 'churn', numbers: { blue: { requests: 7 } } };
  await registry.refresh();
  await until(() => endpoint.numbers.blue?.requests === 7);
  endpoint.setShare('blue', 90);
  endpoint.setShare('green', 20);
  server.answers['online-endpoint/update'] = new Failing(400, { error: 'InvalidInput', message: 'Not 110.' });
  await endpoint.applyShares();
  expect([endpoint.error?.message, endpoint.wantedShares]).toEqual(['Not 110.', { blue: 90, green: 20 }]);
  endpoint.setShare('green', 10);
  server.answers['online-endpoint/update'] = {};
  await endpoint.applyShares();
  expect(server.last('online-endpoint/update').command).toEqual({ name: 'churn', traffic: 'blue=90 green=10' });
  expect([endpoint.error, endpoint.shares]).toEqual([null, {}]);
});

test('a mirror is chosen, set with the traffic, and taken away', async () => {
  const { server, registry, endpoint } = await openEndpoint();
  server.answers['online-endpoint/list'] = [{ name: 'churn', traffic: { blue: 100 }, mirror_traffic: { old: 5 } }];
  server.answers['online-deployment/list'] = TWO;
  server.answers['online-endpoint/update'] = {};
  await registry.refresh();
  expect([endpoint.wantedMirror, endpoint.hasUnset]).toEqual([{ name: 'old', percent: 5 }, false]);
  endpoint.setMirror('green', 10);
  expect(endpoint.hasUnset).toBe(true);
  await endpoint.applyShares();
  const update = { name: 'churn', traffic: 'blue=100 green=0' };
  expect(server.last('online-endpoint/update').command).toEqual({ ...update, mirror_traffic: 'old=0 green=10' });
  endpoint.setMirror('', 0);
  await endpoint.applyShares();
  expect(server.last('online-endpoint/update').command).toEqual({ ...update, mirror_traffic: 'old=0' });
});

test('why something was not done stays while the rest is read on', async () => {
  const { server, registry, endpoint } = await openEndpoint();
  server.answers['online-endpoint/show'] = { name: 'churn', numbers: { default: { requests: 1 } } };
  server.answers['online-deployment/update'] = new Failing(409, { error: 'Conflict', message: 'It starts.' });
  await endpoint.scale('default', 2);
  expect(server.last('online-deployment/update').command).toEqual({
    name: 'default',
    endpoint_name: 'churn',
    set: ['instance_count=2']
  });
  await registry.refresh();
  await until(() => endpoint.numbers.default?.requests === 1);
  expect([endpoint.error?.message, endpoint.readError]).toEqual(['It starts.', null]);
  server.answers['online-deployment/update'] = {};
  await endpoint.scale('default', 2);
  expect(endpoint.error).toBeNull();
});

test('each deployment has its log, and one that is deleted takes its own along', async () => {
  const { server, registry, endpoint } = await openEndpoint();
  server.answers['online-endpoint/list'] = [{ name: 'churn', traffic: { blue: 90, green: 10 } }];
  server.answers['online-deployment/list'] = TWO;
  server.answers['online-deployment/get-logs'] = ({ query }: { query: URLSearchParams }) => ({
    text: `I am ${query.get('name')}`
  });
  await registry.refresh();
  await endpoint.loadLog();
  expect([endpoint.logOf, endpoint.log]).toEqual(['blue', 'I am blue']);
  await endpoint.loadLog('green');
  expect([endpoint.logOf, endpoint.log]).toEqual(['green', 'I am green']);
  endpoint.setShare('green', 5);
  server.answers['online-deployment/delete'] = () => {
    server.answers['online-deployment/list'] = TWO.slice(0, 1);
    return {};
  };
  await endpoint.removeDeployment('green');
  expect([endpoint.logOf, endpoint.log, endpoint.wantedShares]).toEqual(['blue', null, { blue: 90 }]);
  expect(server.last('online-deployment/delete').command).toEqual({ name: 'green', endpoint_name: 'churn', yes: true });
});

test('a line for a shell has the key and the request', async () => {
  const { server, registry, endpoint } = await openEndpoint();
  const scoring_uri = 'http://127.0.0.1:8080/score';
  server.answers['online-endpoint/list'] = [{ name: 'churn', scoring_uri }];
  server.answers['online-endpoint/get-credentials'] = { primaryKey: 'k1' };
  await registry.refresh();
  endpoint.setRequest('{"a": "it\'s"}');
  const quoted = String.raw`'{"a": "it'\''s"}'`;
  expect(await endpoint.curl()).toBe(
    `curl -s -H 'Authorization: Bearer k1' -H 'Content-Type: application/json' --data ${quoted} ${scoring_uri}`
  );
  server.answers['online-endpoint/get-credentials'] = new Failing(404, { error: 'NotFound', message: 'It is gone.' });
  expect([await endpoint.curl(), endpoint.error?.message]).toEqual([null, 'It is gone.']);
});

test('numbers and an open log are read on while somebody looks', async () => {
  const { server, registry, endpoint } = await openEndpoint();
  server.answers['online-endpoint/show'] = { name: 'churn', numbers: {} };
  const watching = registry.watch();
  const before = server.count('online-endpoint/show');
  await endpoint['_poll'].refresh();
  await until(() => server.count('online-endpoint/show') > before);
  watching.dispose();
});

test('a stopped endpoint is started, or says why not', async () => {
  const { server, endpoint } = await openEndpoint();
  server.answers['online-endpoint/start'] = new Failing(503, { error: 'Unavailable', message: 'The port is taken.' });
  await endpoint.start();
  expect(endpoint.error?.message).toBe('The port is taken.');
  server.answers['online-endpoint/start'] = {};
  server.answers['online-endpoint/show'] = { name: 'churn' };
  await endpoint.start();
  expect([endpoint.error, server.last('online-endpoint/start').command]).toEqual([null, { name: 'churn' }]);
});
