/** Asks the server: one typed function for every operation of the generated table. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { IOperations, OPERATIONS } from './schema';

const NAMESPACE = 'jupyter-modelreg';

export type OperationName = keyof IOperations;
export type Command<N extends OperationName> = IOperations[N]['command'];
export type Answer<N extends OperationName> = IOperations[N]['answer'];

/** What `GET jupyter-modelreg/status` answers. */
export interface IStatus {
  version: string;
  home: string;
  change: number;
}

/**
 * Why an operation failed.
 *
 * `error` is the server's class of error, `ServerMissing` when the routes are not there, or `NoAnswer` when nobody
 * answered; `detail` is text that does not fit one line, such as a traceback.
 */
export class CallError extends Error {
  constructor(
    readonly status: number,
    readonly error: string,
    message: string,
    readonly detail = ''
  ) {
    super(message);
    this.name = error;
  }
}

/** Run an operation. Throws a `CallError`. */
export async function call<N extends OperationName>(
  settings: ServerConnection.ISettings,
  name: N,
  command: Command<N>
): Promise<Answer<N>> {
  const { method, path } = OPERATIONS[name];
  const query = method === 'GET' ? toQuery(command) : '';
  const body = method === 'POST' ? JSON.stringify(command) : undefined;
  const headers = { 'Content-Type': 'application/json' };
  return (await request(settings, path + query, {
    method,
    headers,
    body
  })) as Answer<N>;
}

/** Ask whether the server part is there. Throws a `CallError`. */
export async function fetchStatus(settings: ServerConnection.ISettings): Promise<IStatus> {
  return (await request(settings, 'status', { method: 'GET' })) as IStatus;
}

/** Write a command as a query: lists repeat their key, mappings are written `key=value`. */
export function toQuery(command: object): string {
  const words = new URLSearchParams();
  for (const [key, value] of Object.entries(command) as [string, unknown][]) {
    for (const text of toTexts(value)) {
      words.append(key, text);
    }
  }
  const text = words.toString();
  return text ? `?${text}` : '';
}

/** Make whatever was thrown an error that can be shown. */
export function toCallError(reason: unknown): CallError {
  return reason instanceof CallError ? reason : new CallError(0, 'Error', String(reason));
}

/** Do something; return what went wrong, or null. */
export async function attempt(action: () => Promise<unknown>): Promise<CallError | null> {
  try {
    await action();
    return null;
  } catch (reason) {
    return toCallError(reason);
  }
}

function toTexts(value: unknown): string[] {
  if (value === undefined || value === null) {
    return [];
  }
  if (Array.isArray(value)) {
    return value.map(String);
  }
  return typeof value === 'object' ? Object.entries(value).map(([key, item]) => `${key}=${item}`) : [String(value)];
}

async function request(settings: ServerConnection.ISettings, path: string, init: RequestInit): Promise<unknown> {
  const url = URLExt.join(settings.baseUrl, NAMESPACE, path);
  const response = await send(settings, url, init);
  const text = await response.text();
  const answer = parse(text);
  if (!response.ok) {
    throw toError(response.status, answer, text || response.statusText);
  }
  return answer;
}

async function send(settings: ServerConnection.ISettings, url: string, init: RequestInit): Promise<Response> {
  // Under its own setting, 'no-store', JupyterLab adds the time to the query, which is no field of any command; our
  // server forbids storing its answers itself.
  const uncached: RequestInit = { ...init, cache: 'default' };
  try {
    return await ServerConnection.makeRequest(url, uncached, settings);
  } catch (reason) {
    throw new CallError(0, 'NoAnswer', String(reason));
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Our own errors name their class; a 404 without one is Jupyter's own: it does not know our routes. */
function toError(status: number, answer: unknown, text: string): CallError {
  const said = (answer ?? {}) as Partial<Record<string, unknown>>;
  const message = typeof said.message === 'string' ? said.message : text;
  if (typeof said.error === 'string') {
    return new CallError(status, said.error, message, typeof said.detail === 'string' ? said.detail : '');
  }
  return new CallError(status, status === 404 ? 'ServerMissing' : 'Error', message);
}
