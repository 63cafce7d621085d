/** One version of a model: what the server knows of it, and what can be changed. No DOM. */

import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { attempt, CallError, Command } from './call';
import { parseTag } from './format';
import type { RegistryModel } from './model';
import type { IComparison, IModel } from './schema';

const SHOWN_VERSIONS = 200;

export class VersionModel implements IDisposable {
  model: IModel | null = null;
  /** The versions of the model, the newest first, archived ones too. */
  versions: IModel[] = [];
  /** Whether there are more than these. */
  hasMore = false;
  comparison: IComparison | null = null;
  /** Why the version cannot be shown. */
  error: CallError | null = null;
  /** Why the last change was not made. */
  failure: CallError | null = null;
  isBusy = false;

  /** Without a version the latest is shown, and stays the one shown. */
  constructor(
    readonly registry: RegistryModel,
    readonly name: string,
    readonly wanted?: string
  ) {
    this._version = wanted;
    registry.refreshed.connect(this.reload, this);
    void this.reload();
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get version(): string {
    return this._version ?? '';
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    Signal.clearData(this);
  }

  /** The version before this one, if there is one. */
  get previous(): IModel | undefined {
    const index = this.versions.findIndex(item => item.version === this._version);
    return index < 0 ? undefined : this.versions[index + 1];
  }

  async reload(): Promise<void> {
    this.error = await attempt(async () => {
      const { name } = this;
      const [model, versions] = await Promise.all([
        this.registry.read('model show', { name, version: this._version }),
        this.registry.read('model list', { name, include_archived: true, max_results: SHOWN_VERSIONS + 1 })
      ]);
      this._version = model.version;
      this.model = model;
      this.versions = versions.slice(0, SHOWN_VERSIONS);
      this.hasMore = versions.length > SHOWN_VERSIONS;
    });
    this._changed.emit();
  }

  /** Change description or stage; an empty text removes it. */
  async setText(key: 'description' | 'stage', text: string): Promise<void> {
    const has = Boolean(this.model?.[key]);
    if (text) {
      await this._update({ set: [`${key}=${text}`], force_string: true });
    } else if (has) {
      await this._update({ remove: [key] });
    }
  }

  /** Add a tag written `key=value`, or change its value. */
  async setTag(text: string): Promise<void> {
    const [key, value] = parseTag(text);
    await this._update({ add: [`tags ${key}=${value}`], force_string: true });
  }

  /** Remove a tag. The rest is sent, since a key may hold dots, which a path reads as steps. */
  async removeTag(key: string): Promise<void> {
    const tags = Object.entries(this.model?.tags ?? {});
    const rest = Object.fromEntries(tags.filter(([name]) => name !== key));
    await this._update({ set: [`tags=${JSON.stringify(rest)}`] });
  }

  /** Compare with the version before. */
  async compare(): Promise<void> {
    await this._act(async () => {
      this.comparison = await this.registry.read('model compare', {
        name: this.name,
        version: this.previous?.version,
        other: this._version
      });
    });
  }

  private async _update(change: Partial<Command<'model update'>>): Promise<void> {
    const { name, version } = this;
    await this._act(() => this.registry.run('model update', { name, version, ...change }));
  }

  private async _act(action: () => Promise<unknown>): Promise<void> {
    this.isBusy = true;
    this._changed.emit();
    this.failure = await attempt(action);
    this.isBusy = false;
    this._changed.emit();
  }

  private readonly _changed = new Signal<this, void>(this);
  private _version?: string;
  private _isDisposed = false;
}
