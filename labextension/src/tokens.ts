/** What this extension gives to others, and the names it goes by. */

import { Token } from '@lumino/coreutils';

import type { RegistryModel } from './model';

/** The registry as the panel sees it. Other extensions may ask for it. */
export type IModelRegistry = RegistryModel;

export const IModelRegistry = new Token<IModelRegistry>(
  'jupyter-modelreg:IModelRegistry',
  'The models and endpoints of the registry, kept up to date.'
);

/** The id of the panel; `scripts/quickstart` opens it by this name. */
export const PANEL_ID = 'jp-modelreg-panel';

/** The id of the plugin that holds the settings. */
export const PLUGIN_ID = 'jupyter-modelreg:plugin';

/** The server's event; its schema is registered by the server part. */
export const CHANGE_EVENT = 'https://events.jupyter.org/jupyter_modelreg/change/v1';
