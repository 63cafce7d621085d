/** One endpoint: its deployments and how they do, its keys on demand, its logs, and a request to try it with. No DOM. */

import { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';

import { attempt, CallError } from './call';
import { curlOf, formatJson, modelOf, requestBody } from './format';
import type { IEndpointRow, RegistryModel } from './model';
import type { IDeploymentNumbers, IEndpointKeys } from './schema';

const LOG_LINES = 500;
/** Numbers and logs move without the registry changing. */
const LOOK_SECONDS = 5;

/** Which deployment gets copies of the traffic, and of how much; Azure ML mirrors to one at most. */
export interface IMirror {
  name: string;
  percent: number;
}

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
  /** The mirror that somebody chose and did not set yet. */
  mirror: IMirror | null = null;
  log: string | null = null;
  /** Why what somebody did was not done. It stays until something is done. */
  error: CallError | null = null;
  /** Why something cannot be read. It goes when it can. */
  readError: CallError | null = null;
  /** Why the last request got no answer. */
  failure: CallError | null = null;
  isSending = false;

  constructor(
    readonly registry: RegistryModel,
    readonly name: string
  ) {
    registry.refreshed.connect(this._follow, this);
    void this._follow();
    this._poll = new Poll({
      auto: true,
      name: `jupyter-modelreg:endpoint-${name}`,
      factory: () => this._readOn(),
      frequency: { backoff: false, interval: LOOK_SECONDS * 1000 },
      standby: () => (registry.isWatched ? 'when-hidden' : true)
    });
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
    void this._poll.stop(); // disposing alone would leave its timer
    this._poll.dispose();
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

  /** The shares as they would be, of the deployments that are there. */
  get wantedShares(): { [name: string]: number } {
    const { deployments = [], endpoint } = this.row ?? {};
    const names = deployments.map(({ name }) => name ?? '');
    return Object.fromEntries(names.map(name => [name, this.shares[name] ?? endpoint?.traffic?.[name] ?? 0]));
  }

  /** The mirror as it would be; null where there is none. */
  get wantedMirror(): IMirror | null {
    const [set] = Object.entries(this.row?.endpoint.mirror_traffic ?? {}).filter(([, percent]) => percent > 0);
    return this.mirror ?? (set ? { name: set[0], percent: set[1] } : null);
  }

  /** Choose who gets copies, and of how much; no name for nobody. */
  setMirror(name: string, percent: number): void {
    this.mirror = { name, percent };
    this._changed.emit();
  }

  get hasUnset(): boolean {
    return this.mirror !== null || Object.keys(this.shares).length > 0;
  }

  /** Send the traffic, and the copies, where they were written to go. */
  async applyShares(): Promise<void> {
    const { mirror } = this;
    const before = Object.keys(this.row?.endpoint.mirror_traffic ?? {});
    const copies = { ...Object.fromEntries(before.map(name => [name, 0])), ...(mirror?.name && byName(mirror)) };
    await this._do(async () => {
      await this.registry.run('online-endpoint update', {
        name: this.name,
        traffic: written(this.wantedShares),
        mirror_traffic: mirror ? written(copies) || undefined : undefined
      });
      this.shares = {};
      this.mirror = null;
    });
  }

  /** Say how many processes a deployment shall have. */
  async scale(name: string, instances: number): Promise<void> {
    await this._do(async () => {
      const set = [`instance_count=${instances}`];
      await this.registry.run('online-deployment update', { name, endpoint_name: this.name, set });
    });
  }

  /** Stop one deployment and delete it. */
  async removeDeployment(name: string): Promise<void> {
    const isShown = this.logOf === name;
    await this._do(async () => {
      await this.registry.read('online-deployment delete', { name, endpoint_name: this.name, yes: true });
      this.shares = Object.fromEntries(Object.entries(this.shares).filter(([other]) => other !== name));
      if (isShown) {
        this._logOf = this.log = null; // before what is gone is read again
      }
      await this.registry.refresh();
    });
  }

  /** Bring a stopped endpoint back. */
  async start(): Promise<void> {
    await this._do(() => this.registry.run('online-endpoint start', { name: this.name }));
  }

  async showKeys(): Promise<void> {
    await this._do(async () => {
      this.keys = await this.registry.read('online-endpoint get-credentials', { name: this.name });
    });
  }

  hideKeys(): void {
    this.keys = null;
    this._changed.emit();
  }

  /** A line for a shell that sends the request, key and all; null when the key cannot be had. */
  async curl(): Promise<string | null> {
    let line: string | null = null;
    await this._do(async () => {
      const keys = await this.registry.read('online-endpoint get-credentials', { name: this.name });
      line = curlOf(this.row?.endpoint.scoring_uri ?? '', keys.primaryKey ?? keys.accessToken ?? '', this.request);
    });
    return line;
  }

  /** Whose log is shown. */
  get logOf(): string | undefined {
    const names = this.row?.deployments.map(({ name }) => name) ?? [];
    return this._logOf && names.includes(this._logOf) ? this._logOf : this.row?.deployment?.name;
  }

  /** Read the last lines of a log; without a name of the one that was shown before. */
  async loadLog(name?: string): Promise<void> {
    if (name && name !== this.logOf) {
      this.log = '';
    }
    this._logOf = name ?? this._logOf;
    this.readError = await this._readLog();
    this._changed.emit();
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
      const error = await attempt(async () => {
        const { numbers } = await this.registry.read('online-endpoint show', { name: this.name });
        this.numbers = numbers ?? {};
      });
      this.readError = (this.log === null ? null : await this._readLog()) ?? error;
      this._changed.emit();
    }
  }

  private async _readLog(): Promise<CallError | null> {
    const deployment = this.logOf;
    return attempt(async () => {
      if (deployment) {
        const { text } = await this.registry.read('online-deployment get-logs', {
          name: deployment,
          endpoint_name: this.name,
          lines: LOG_LINES
        });
        this.log = text ?? '';
      }
    });
  }

  private async _do(action: () => Promise<unknown>): Promise<void> {
    this.error = await attempt(action);
    this._changed.emit();
  }

  /** Write an example of the model's input, unless somebody wrote something. */
  private async _suggest(name: string, version: string): Promise<void> {
    this.readError = await attempt(async () => {
      const model = await this.registry.read('model show', { name, version });
      if (this.request === this._suggestion) {
        this.request = this._suggestion = requestBody(model);
      }
    });
  }

  private readonly _changed = new Signal<this, void>(this);
  private readonly _poll: Poll;
  private _logOf: string | null = null;
  private _served = '';
  private _suggestion = '';
  private _isDisposed = false;
}

function byName({ name, percent }: IMirror): { [name: string]: number } {
  return { [name]: percent };
}

/** Write shares as the command takes them: `blue=90 green=10`. */
function written(shares: { [name: string]: number }): string {
  return Object.entries(shares)
    .map(([name, percent]) => `${name}=${percent}`)
    .join(' ');
}
