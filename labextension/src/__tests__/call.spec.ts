import { expect, test } from '@jest/globals';

import { call, CallError, fetchStatus, toQuery } from '../call';
import { Failing, MemoryServer } from './server';

async function failureOf(action: Promise<unknown>): Promise<CallError> {
  try {
    await action;
  } catch (reason) {
    return reason as CallError;
  }
  throw new Error('It did not fail.');
}

test('a query repeats lists, writes mappings as key=value and leaves out what is not given', () => {
  expect(toQuery({ tags: { stage: 'dev & test' }, set: ['a', 'b'], search: undefined, max_results: 5 })).toBe(
    '?tags=stage%3Ddev+%26+test&set=a&set=b&max_results=5'
  );
  expect(toQuery({})).toBe('');
});

test('an operation that reads is a GET below the base URL, with the token and nothing added to its query', async () => {
  const server = new MemoryServer();
  await call(server.settings, 'model list', { search: 'churn' });
  const request = server.last('model/list');
  expect(request.method).toBe('GET');
  expect([...request.query]).toEqual([['search', 'churn']]);
});

test('an operation that changes is a POST of JSON', async () => {
  const server = new MemoryServer();
  server.answers['model/archive'] = { name: 'churn', is_archived: true };
  const answer = await call(server.settings, 'model archive', { name: 'churn', version: '1' });
  expect(server.last('model/archive')).toMatchObject({ method: 'POST', command: { name: 'churn', version: '1' } });
  expect(answer.is_archived).toBe(true);
});

test('an error of the registry keeps its class, its line and its detail', async () => {
  const server = new MemoryServer();
  const body = { error: 'Unavailable', message: 'It did not start.', detail: 'Traceback …' };
  server.answers['model/deploy'] = new Failing(503, body);
  const error = await failureOf(call(server.settings, 'model deploy', { name: 'churn' }));
  expect(error).toMatchObject({ status: 503, ...body });
});

test('a model that is not found is no missing server', async () => {
  const server = new MemoryServer();
  server.answers['model/show'] = new Failing(404, { error: 'NotFound', message: 'There is no model "x".', detail: '' });
  expect((await failureOf(call(server.settings, 'model show', { name: 'x' }))).error).toBe('NotFound');
});

test("Jupyter's own 404 says that the server part is missing", async () => {
  const server = new MemoryServer();
  delete server.answers.status;
  expect((await failureOf(fetchStatus(server.settings))).error).toBe('ServerMissing');
});

test('a page instead of JSON is an error with its text', async () => {
  const server = new MemoryServer();
  server.answers.status = new Failing(502, '<h1>Bad gateway</h1>');
  expect(await failureOf(fetchStatus(server.settings))).toMatchObject({
    status: 502,
    error: 'Error',
    message: '<h1>Bad gateway</h1>'
  });
});

test('nobody answering is an error of its own', async () => {
  const server = new MemoryServer();
  server.isDown = true;
  expect((await failureOf(fetchStatus(server.settings))).error).toBe('NoAnswer');
});
