/** One endpoint: its keys on demand, its log, and a request to try it with. No DOM. */

import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { attempt, CallError } from './call';
import { formatJson, modelOf, requestBody } from './format';
import type { IEndpointRow, RegistryModel } from './model';
import type { IDeploymentNumbers, IEndpointKeys } from './schema';

const LOG_LINES = 500;

/** What came back: text and how long it took. */
export interface IAnswer {
  text: string;
  milliseconds: number;
}

export class EndpointModel implements IDisposable {
  request = '';
  answer: IAnswer | null = null;
  keys: IEndpointKeys | null = null;
  /** How each deployment does, by name. */
  numbers: { [name: string]: IDeploymentNumbers } = {};
  /** Shares of the traffic that somebody wrote and did not set yet. */
  shares: { [name: string]: number } = {};
  log: string | null = null;
  /** Why the log or the keys cannot be shown. */
  error: CallError | null = null;
  /** Why the last request got no answer. */
  failure: CallError | null = null;
  isSending = false;

  constructor(
    readonly registry: RegistryModel,
    readonly name: string
  ) {
    registry.refreshed.connect(this._follow, this);
    void this._follow();
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get row(): IEndpointRow | undefined {
    return this.registry.findEndpoint(this.name);
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    this.keys = null;
    Signal.clearData(this);
  }

  setRequest(text: string): void {
    this.request = text;
    this._changed.emit();
  }

  /** Send the request and show the answer. */
  async send(): Promise<void> {
    this.isSending = true;
    this.answer = null;
    this._changed.emit();
    this.failure = await attempt(async () => {
      const { body, seconds } = await this.registry.read('online-endpoint invoke', {
        name: this.name,
        data: this.request
      });
      this.answer = {
        text: typeof body === 'string' ? body : formatJson(body),
        milliseconds: (seconds ?? 0) * 1000
      };
    });
    this.isSending = false;
    this._changed.emit();
    await this._readOn();
  }

  /** Write one deployment's share of the traffic, in percent. */
  setShare(name: string, percent: number): void {
    this.shares = { ...this.shares, [name]: percent };
    this._changed.emit();
  }

  /** The shares as they would be. */
  get wantedShares(): { [name: string]: number } {
    return { ...this.row?.endpoint.traffic, ...this.shares };
  }

  /** Send the traffic where it was written to go. */
  async applyShares(): Promise<void> {
    const traffic = Object.entries(this.wantedShares)
      .map(([name, percent]) => `${name}=${percent}`)
      .join(' ');
    this.error = await attempt(async () => {
      await this.registry.run('online-endpoint update', { name: this.name, traffic });
      this.shares = {};
    });
    this._changed.emit();
  }

  /** Bring a stopped endpoint back. */
  async start(): Promise<void> {
    this.error = await attempt(async () => {
      await this.registry.run('online-endpoint start', { name: this.name });
    });
    this._changed.emit();
  }

  async showKeys(): Promise<void> {
    this.error = await attempt(async () => {
      const command = { name: this.name };
      this.keys = await this.registry.read('online-endpoint get-credentials', command);
    });
    this._changed.emit();
  }

  hideKeys(): void {
    this.keys = null;
    this._changed.emit();
  }

  /** Read the last lines of the log. */
  async loadLog(): Promise<void> {
    const deployment = this.row?.deployment?.name;
    if (deployment) {
      this.error = await attempt(async () => {
        const { text } = await this.registry.read('online-deployment get-logs', {
          name: deployment,
          endpoint_name: this.name,
          lines: LOG_LINES
        });
        this.log = text ?? '';
      });
      this._changed.emit();
    }
  }

  /** Take what the registry says now: start the request from the model's example, and read on in a log that was opened. */
  private async _follow(): Promise<void> {
    const { row } = this;
    const model = row?.deployment && modelOf(row.deployment);
    const served = model ? `${model.name}:${model.version}` : '';
    if (model && served !== this._served) {
      this._served = served;
      await this._suggest(model.name, model.version);
    }
    await this._readOn();
    this._changed.emit();
  }

  private async _readOn(): Promise<void> {
    if (this.row?.deployments.length) {
      this.error = await attempt(async () => {
        const { numbers } = await this.registry.read('online-endpoint show', { name: this.name });
        this.numbers = numbers ?? {};
      });
      this._changed.emit();
    }
    if (this.log !== null) {
      await this.loadLog();
    }
  }

  /** Write an example of the model's input, unless somebody wrote something. */
  private async _suggest(name: string, version: string): Promise<void> {
    this.error = await attempt(async () => {
      const model = await this.registry.read('model show', { name, version });
      if (this.request === this._suggestion) {
        this.request = this._suggestion = requestBody(model);
      }
    });
  }

  private readonly _changed = new Signal<this, void>(this);
  private _served = '';
  private _suggestion = '';
  private _isDisposed = false;
}
