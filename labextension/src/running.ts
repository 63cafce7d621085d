/** Endpoints in the Running panel, beside kernels and terminals. */

import type { IRunningSessions } from '@jupyterlab/running';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';

import { attempt } from './call';
import { CommandIDs } from './commands';
import { showFailure } from './dialogs';
import { endpointIcon } from './icons';
import type { IEndpointRow, RegistryModel } from './model';
import { servedBy } from './views/endpoints';

/** A section of the Running panel that lists the registry's endpoints. */
export class RunningEndpoints implements IRunningSessions.IManager {
  readonly name: string;
  readonly shutdownLabel: string;
  readonly shutdownAllLabel: string;
  readonly shutdownAllConfirmationText: string;
  readonly supportsMultipleViews = false;

  constructor(
    private readonly _registry: RegistryModel,
    private readonly _commands: CommandRegistry,
    private readonly _trans: TranslationBundle
  ) {
    this.name = _trans.__('Endpoints');
    this.shutdownLabel = _trans.__('Shut Down');
    this.shutdownAllLabel = _trans.__('Shut Down All');
    this.shutdownAllConfirmationText = _trans.__('Stop all endpoints and delete them? Their models stay.');
  }

  get runningChanged(): RegistryModel['changed'] {
    return this._registry.changed;
  }

  running(): IRunningSessions.IRunningItem[] {
    return this._registry.endpoints.map(row => this._itemOf(row));
  }

  refreshRunning(): void {
    void this._registry.refresh();
  }

  shutdownAll(): void {
    for (const { endpoint } of this._registry.endpoints) {
      void this._stop(endpoint.name ?? '');
    }
  }

  private _itemOf(row: IEndpointRow): IRunningSessions.IRunningItem {
    const { name = '', state = '', scoring_uri: url = '' } = row.endpoint;
    return {
      icon: () => endpointIcon,
      label: () => name,
      labelTitle: () => [servedBy(row), state, url].filter(Boolean).join('\n'),
      detail: () => [servedBy(row), state].filter(Boolean).join(' · '),
      open: () => void this._commands.execute(CommandIDs.openEndpoint, { name }),
      shutdown: () => void this._stop(name)
    };
  }

  private async _stop(name: string): Promise<void> {
    const error = await attempt(() => this._registry.stop(name));
    if (error) {
      await showFailure(this._trans, this._trans.__('Stopping failed'), error);
    }
  }
}
