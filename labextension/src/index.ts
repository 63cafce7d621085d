/** Wires the parts into JupyterLab: the registry's model, its commands and panel, and its place in other panels. */

import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IDefaultFileBrowser } from '@jupyterlab/filebrowser';
import { IRunningSessionManagers } from '@jupyterlab/running';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';

import { addCommands, PALETTE } from './commands';
import { RegistryModel } from './model';
import { IPanelOptions, RegistryPanel, VersionTabs } from './panel';
import { RunningEndpoints } from './running';
import { IModelRegistry, PLUGIN_ID } from './tokens';

// The version stands in one place; the bundler copies it here.
declare const require: (path: string) => { version: string };
const VERSION = require('../package.json').version;

const DOMAIN = 'jupyter_modelreg';
const RANK = 600; // Source: JupyterLab, sidebar ranks 501 to 899 are for extensions.

function load(translator: ITranslator | null): TranslationBundle {
  return (translator ?? nullTranslator).load(DOMAIN);
}

const registry: JupyterFrontEndPlugin<IModelRegistry> = {
  id: PLUGIN_ID,
  description: 'Keeps the models and endpoints of the registry up to date.',
  autoStart: true,
  requires: [],
  optional: [ISettingRegistry],
  provides: IModelRegistry,
  activate: (app: JupyterFrontEnd, settings: ISettingRegistry | null) => {
    const { serverSettings, events } = app.serviceManager;
    const model = new RegistryModel({
      serverSettings,
      version: VERSION,
      events: events.stream
    });
    const apply = (loaded: ISettingRegistry.ISettings): void =>
      model.setPollSeconds(Number(loaded.get('pollSeconds').composite));
    void settings?.load(PLUGIN_ID).then(loaded => {
      apply(loaded);
      loaded.changed.connect(apply);
    });
    return model;
  }
};

const panel: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-modelreg:panel',
  description: 'The sidebar panel of models and endpoints, and its commands.',
  autoStart: true,
  requires: [IModelRegistry],
  optional: [ITranslator, ILayoutRestorer, ICommandPalette, IDefaultFileBrowser],
  activate: (
    app: JupyterFrontEnd,
    model: IModelRegistry,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    browser: IDefaultFileBrowser | null
  ) => {
    const trans = load(translator);
    const options: IPanelOptions = {
      registry: model,
      commands: app.commands,
      translator: translator ?? nullTranslator,
      trans
    };
    const widget = new RegistryPanel(options);
    const tabs = new VersionTabs(options, app.shell);
    const { contents } = app.serviceManager;
    addCommands({
      app,
      registry: model,
      trans,
      focusSearch: () => widget.focusSearch(),
      openTab: reference => tabs.open(reference),
      selectedPath: () => {
        const item = browser?.selectedItems().next().value;
        return item && contents.localPath(item.path);
      }
    });
    app.shell.add(widget, 'left', { rank: RANK });
    if (restorer) {
      restorer.add(widget, widget.id);
      tabs.restore(restorer);
    }
    const category = trans.__('Model Registry');
    PALETTE.forEach(command => palette?.addItem({ command, category }));
  }
};

const running: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-modelreg:running',
  description: 'Endpoints in the panel of what is running.',
  autoStart: true,
  requires: [IModelRegistry],
  optional: [IRunningSessionManagers, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: IModelRegistry,
    managers: IRunningSessionManagers | null,
    translator: ITranslator | null
  ) => {
    managers?.add(new RunningEndpoints(model, app.commands, load(translator)));
  }
};

export { IModelRegistry };
export default [registry, panel, running];
