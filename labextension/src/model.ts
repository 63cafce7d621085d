/**
 * What the panel knows: the models that fit the search, the endpoints, and what is open. No DOM.
 *
 * The server says when the registry changes; polling is for servers whose events do not arrive. Nobody polls for a
 * panel that is not seen.
 */

import type { Event, ServerConnection } from '@jupyterlab/services';
import { DisposableDelegate, IDisposable } from '@lumino/disposable';
import { Debouncer, Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';

import { Answer, attempt, call, CallError, Command, fetchStatus, IStatus, OperationName, toCallError } from './call';
import { EndpointModel } from './endpoint';
import type { IReference } from './format';
import { IModel, IOnlineDeployment, IOnlineEndpoint } from './schema';
import { CHANGE_EVENT } from './tokens';
import { VersionModel } from './version';

/** So many models are asked for at a time. */
export const PAGE_SIZE = 200;

const SEARCH_DELAY_MS = 150;
const POLL_SECONDS = 30;

/** An endpoint, its deployments, and the one with most of its traffic. */
export interface IEndpointRow {
  endpoint: IOnlineEndpoint;
  deployments: IOnlineDeployment[];
  deployment?: IOnlineDeployment;
}

/** Where a version is deployed to, and how. */
export type IPlace = { endpoint_name: string } & Pick<
  Command<'model deploy'>,
  'accelerator' | 'deployment_name' | 'model_class' | 'traffic'
>;

/** What a list of models shows. */
export interface IModelList {
  models: IModel[];
  search: string;
  showsArchived: boolean;
  /** Whether more fit than are shown. */
  hasMore: boolean;
  isBusy: boolean;
  isLoaded: boolean;
  error: CallError | null;
  /** Names of models whose files are being copied. */
  registering: ReadonlySet<string>;
}

export interface IRegistryOptions {
  serverSettings: ServerConnection.ISettings;
  /** The version of this extension; the server's should be the same. */
  version: string;
  /** The server's events; without them only polling notices changes. */
  events?: ISignal<unknown, Event.Emission>;
}

export class RegistryModel implements IDisposable, IModelList {
  models: IModel[] = [];
  endpoints: IEndpointRow[] = [];
  hasMore = false;
  search = '';
  showsArchived = false;
  isBusy = false;
  isLoaded = false;
  error: CallError | null = null;
  status: IStatus | null = null;
  readonly registering = new Set<string>();
  /** Names of endpoints that are being deployed to, and by which model. */
  readonly pending = new Map<string, string>();
  /** What the panel has open, if anything. */
  openVersion: VersionModel | null = null;
  openEndpoint: EndpointModel | null = null;

  constructor(private readonly _options: IRegistryOptions) {
    this._search = new Debouncer(() => this.refresh(), SEARCH_DELAY_MS);
    this._poll = new Poll({
      auto: true,
      name: 'jupyter-modelreg:registry',
      factory: () => this._pollOnce(),
      frequency: frequencyOf(POLL_SECONDS),
      standby: () => (this._watchers ? 'when-hidden' : true)
    });
    _options.events?.connect(this._onEvent, this);
  }

  /** Emitted when anything above changes. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Emitted when the registry's content was read again, so that details may follow. */
  get refreshed(): ISignal<this, void> {
    return this._refreshed;
  }

  get version(): string {
    return this._options.version;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  dispose(): void {
    if (!this.isDisposed) {
      void this._poll.stop(); // disposing alone would leave its timer
      this._poll.dispose();
      this._search.dispose();
      this.openVersion?.dispose();
      this.openEndpoint?.dispose();
      Signal.clearData(this);
    }
  }

  /** Whether somebody looks. */
  get isWatched(): boolean {
    return this._watchers > 0;
  }

  /** Say that somebody looks; what happened meanwhile is read at once. */
  watch(): IDisposable {
    this._watchers += 1;
    void this._poll.refresh();
    return new DisposableDelegate(() => {
      this._watchers -= 1;
    });
  }

  setPollSeconds(seconds: number): void {
    this._poll.frequency = frequencyOf(seconds);
  }

  setSearch(text: string): void {
    this.search = text;
    this._limit = PAGE_SIZE;
    this.isBusy = true;
    this._changed.emit();
    void this._search.invoke();
  }

  async setShowsArchived(showsArchived: boolean): Promise<void> {
    this.showsArchived = showsArchived;
    await this.refresh();
  }

  async showMore(): Promise<void> {
    this._limit += PAGE_SIZE;
    await this.refresh();
  }

  /** Read models and endpoints again; calls that come while one is under way are served by one more. */
  async refresh(): Promise<void> {
    this._isStale = true;
    this._refreshing ??= this._refreshWhileStale();
    await this._refreshing;
  }

  /** Run an operation, then read what it changed. Throws a `CallError`. */
  async run<N extends OperationName>(name: N, command: Command<N>): Promise<Answer<N>> {
    const answer = await this.read(name, command);
    await this.refresh();
    return answer;
  }

  /** Run an operation and leave the lists as they are. Throws a `CallError`. */
  read<N extends OperationName>(name: N, command: Command<N>): Promise<Answer<N>> {
    return call(this._options.serverSettings, name, command);
  }

  /** Register what a command describes and open it. Throws a `CallError`. */
  async register(command: Command<'model create'>): Promise<void> {
    const name = command.name ?? '';
    this.registering.add(name);
    this._changed.emit();
    try {
      const model = await this.run('model create', command);
      this.showVersion(name, model.version);
    } finally {
      this.registering.delete(name);
      this._changed.emit();
    }
  }

  /** Serve a version at an endpoint and open that endpoint. Throws a `CallError`. */
  async deploy(model: IReference, place: IPlace, trust: boolean): Promise<void> {
    const endpointName = place.endpoint_name;
    this.pending.set(endpointName, `${model.name}:${model.version}`);
    this._changed.emit();
    try {
      await this.run('model deploy', { name: model.name, version: model.version, ...place, trust, no_wait: true });
      this.showEndpoint(endpointName.toLowerCase());
    } finally {
      this.pending.delete(endpointName);
      this._changed.emit();
    }
  }

  /** Bring a version back into lists, and before it the whole model if that is what hides it. Throws a `CallError`. */
  async restore(model: IReference): Promise<void> {
    const error = await attempt(() => this.run('model restore', model));
    if (error && error.error !== 'Conflict') {
      throw error;
    }
    if (error) {
      await this.read('model restore', { name: model.name });
      await this.run('model restore', model);
    }
  }

  /** Delete a version, or all of a model. Throws a `CallError`. */
  async remove(name: string, version?: string): Promise<void> {
    await this.read('model delete', { name, version, yes: true });
    if (this.openVersion?.name === name && (!version || this.openVersion.version === version)) {
      this.showVersion(null); // before what is gone is read again
    }
    await this.refresh();
  }

  /** Stop an endpoint and delete it. Throws a `CallError`. */
  async stop(name: string): Promise<void> {
    this.endpoints = this.endpoints.map(row =>
      row.endpoint.name === name ? { ...row, endpoint: { ...row.endpoint, state: 'stopping' } } : row
    );
    this._changed.emit();
    try {
      await this.read('online-endpoint delete', { name, yes: true });
    } finally {
      await this.refresh();
    }
    if (this.openEndpoint?.name === name) {
      this.showEndpoint(null);
    }
  }

  /** Open a version in the panel; the latest when none is named. Null closes. */
  showVersion(name: string | null, version?: string): void {
    this.openVersion?.dispose();
    this.openVersion = name ? new VersionModel(this, name, version) : null;
    this._changed.emit();
  }

  /** Open an endpoint in the panel. Null closes. */
  showEndpoint(name: string | null): void {
    if (!name || this.openEndpoint?.name !== name) {
      this.openEndpoint?.dispose();
      this.openEndpoint = name ? new EndpointModel(this, name) : null;
    }
    this._changed.emit();
  }

  findEndpoint(name: string): IEndpointRow | undefined {
    return this.endpoints.find(row => row.endpoint.name === name);
  }

  private async _refreshWhileStale(): Promise<void> {
    try {
      while (this._isStale && !this.isDisposed) {
        this._isStale = false;
        await this._load();
      }
    } finally {
      this._refreshing = null;
    }
  }

  private async _load(): Promise<void> {
    this.error = await attempt(async () => {
      if (!this.status || this.error) {
        this.status = await fetchStatus(this._options.serverSettings);
      }
      const [models, endpoints] = await Promise.all([
        this.read('model list', this._listCommand()),
        this._loadEndpoints()
      ]);
      this.hasMore = models.length > this._limit;
      this.models = models.slice(0, this._limit);
      this.endpoints = endpoints;
      this.isLoaded = true;
    });
    this.isBusy = this._isStale;
    this._changed.emit();
    if (!this.error) {
      this._refreshed.emit();
    }
  }

  /** One more than is shown, to know whether there are more. */
  private _listCommand(): Command<'model list'> {
    return {
      search: this.search.trim() || undefined,
      max_results: this._limit + 1,
      include_archived: this.showsArchived
    };
  }

  private async _loadEndpoints(): Promise<IEndpointRow[]> {
    const endpoints = await this.read('online-endpoint list', {});
    return Promise.all(endpoints.map(endpoint => this._withDeployments(endpoint)));
  }

  private async _withDeployments(endpoint: IOnlineEndpoint): Promise<IEndpointRow> {
    const command = { endpoint_name: endpoint.name ?? '' };
    try {
      const deployments = await this.read('online-deployment list', command);
      const share = ({ name }: IOnlineDeployment): number => endpoint.traffic?.[name ?? ''] ?? 0;
      const [deployment] = [...deployments].sort((one, other) => share(other) - share(one));
      return { endpoint, deployments, deployment };
    } catch (reason) {
      if (toCallError(reason).error === 'NotFound') {
        return { endpoint, deployments: [] }; // deleted since it was listed
      }
      throw reason;
    }
  }

  /** A rejected promise makes the poll wait longer. */
  private async _pollOnce(): Promise<void> {
    await this.refresh();
    if (this.error) {
      throw this.error;
    }
  }

  private _onEvent(_: unknown, event: Event.Emission): void {
    if (event.schema_id === CHANGE_EVENT && this.isLoaded) {
      void this.refresh();
    }
  }

  private readonly _changed = new Signal<this, void>(this);
  private readonly _refreshed = new Signal<this, void>(this);
  private readonly _poll: Poll;
  private readonly _search: Debouncer;
  private _limit = PAGE_SIZE;
  private _watchers = 0;
  private _isStale = false;
  private _refreshing: Promise<void> | null = null;
}

function frequencyOf(seconds: number): Poll['frequency'] {
  return { backoff: true, interval: seconds * 1000, max: 10 * seconds * 1000 };
}
