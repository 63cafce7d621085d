/** A server of the registry's routes in memory: what it was asked, and what it shall answer. */

import { ServerConnection } from '@jupyterlab/services';

export interface IRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  command: unknown;
}

/** An answer with another status than 200. */
export class Failing {
  constructor(
    readonly status: number,
    readonly body: unknown
  ) {}
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds));
}

/** Wait until something holds; the test's own time limit ends a wait in vain. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) {
    await pause(2);
  }
}

type AnswerTo = (request: IRequest) => unknown;

export class MemoryServer {
  readonly requests: IRequest[] = [];
  readonly answers: { [path: string]: unknown } = {
    status: { version: '0.1.0', home: '/home', change: 1 },
    'model/list': [],
    'online-endpoint/list': [],
    'online-deployment/list': []
  };
  isDown = false;

  readonly settings = ServerConnection.makeSettings({
    baseUrl: 'http://server/user/ada/',
    token: 'secret',
    fetch: (input, init) => this._answer(new Request(input, init))
  });

  /** How often a route was asked. */
  count(path: string): number {
    return this.requests.filter(request => request.path === path).length;
  }

  /** What a route was asked last. */
  last(path: string): IRequest {
    const found = this.requests.filter(request => request.path === path).pop();
    if (!found) {
      throw new Error(`${path} was not asked; asked were ${this.requests.map(item => item.path).join(', ')}`);
    }
    return found;
  }

  private async _answer(request: Request): Promise<Response> {
    if (this.isDown) {
      throw new TypeError('Failed to fetch');
    }
    const url = new URL(request.url);
    const path = url.pathname.replace('/user/ada/jupyter-modelreg/', '');
    const text = await request.text();
    const asked: IRequest = {
      method: request.method,
      path,
      query: url.searchParams,
      command: text && JSON.parse(text)
    };
    this.requests.push(asked);
    const found = this.answers[path] ?? new Failing(404, { message: 'Not Found', reason: null });
    const answer = await (typeof found === 'function' ? (found as AnswerTo)(asked) : found);
    return answer instanceof Failing
      ? new Response(textOf(answer.body), { status: answer.status })
      : new Response(JSON.stringify(answer));
  }
}

function textOf(body: unknown): string {
  return typeof body === 'string' ? body : JSON.stringify(body);
}
