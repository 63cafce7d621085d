/** Everything a person can do, as commands: menus, palette, shortcuts and the panel only refer to them. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Clipboard, Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { addIcon, LabIcon } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyJSONObject, ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { attempt, CallError } from './call';
import {
  askForPlace,
  askForModel,
  askForTrust,
  confirm,
  IRegistration,
  registrationOf,
  showFailure,
  toCreateModel
} from './dialogs';
import { IReference, loadCode, reference } from './format';
import { registryIcon } from './icons';
import type { IPlace, RegistryModel } from './model';
import { deployFormFor, IDeployForm, rowOf, toPlace } from './place';
import { PANEL_ID } from './tokens';

export const CommandIDs = {
  show: 'modelreg:show',
  search: 'modelreg:search',
  register: 'modelreg:register',
  registerFile: 'modelreg:register-file',
  refresh: 'modelreg:refresh',
  open: 'modelreg:open',
  openTab: 'modelreg:open-tab',
  deploy: 'modelreg:deploy',
  archive: 'modelreg:archive',
  restore: 'modelreg:restore',
  remove: 'modelreg:delete',
  archiveModel: 'modelreg:archive-model',
  removeModel: 'modelreg:delete-model',
  copyReference: 'modelreg:copy-reference',
  insertCode: 'modelreg:insert-code',
  openEndpoint: 'modelreg:open-endpoint',
  removeEndpoint: 'modelreg:delete-endpoint',
  removeDeployment: 'modelreg:delete-deployment'
} as const;

/** The commands that the palette offers. */
export const PALETTE: string[] = [
  CommandIDs.show,
  CommandIDs.search,
  CommandIDs.register,
  CommandIDs.refresh,
  CommandIDs.deploy,
  CommandIDs.archive,
  CommandIDs.restore,
  CommandIDs.remove,
  CommandIDs.archiveModel,
  CommandIDs.removeModel,
  CommandIDs.copyReference,
  CommandIDs.insertCode,
  CommandIDs.openTab
];

/** What the commands work on. */
export interface ICommandContext {
  app: JupyterFrontEnd;
  registry: RegistryModel;
  trans: TranslationBundle;
  /** Put the cursor into the panel's search box. */
  focusSearch: () => void;
  /** Open a version in the main area. */
  openTab: (model: IReference) => void;
  /** The path of the file that is selected in the file browser, if one is. */
  selectedPath: () => string | undefined;
}

interface ICommand {
  id: string;
  label: string;
  icon?: LabIcon;
  /** Names of the arguments, each a text, with what they mean. */
  args: { [name: string]: string };
  isEnabled?: (args: ReadonlyPartialJSONObject) => boolean;
  execute: (args: ReadonlyPartialJSONObject) => void | Promise<void>;
}

/** Add all commands. */
export function addCommands(context: ICommandContext): void {
  const rows = [...panelCommands(context), ...versionCommands(context), ...endpointCommands(context)];
  for (const { id, args, ...row } of rows) {
    context.app.commands.addCommand(id, {
      ...row,
      describedBy: { args: describeArguments(args) }
    });
  }
}

function describeArguments(args: { [name: string]: string }): ReadonlyJSONObject {
  const properties = Object.entries(args).map(([name, description]) => [name, { type: 'string', description }]);
  return { type: 'object', properties: Object.fromEntries(properties) };
}

function panelCommands(context: ICommandContext): ICommand[] {
  const { registry, trans } = context;
  return [
    {
      id: CommandIDs.show,
      label: trans.__('Show Model Registry'),
      icon: registryIcon,
      args: {},
      execute: () => showPanel(context)
    },
    {
      id: CommandIDs.search,
      label: trans.__('Search Models'),
      args: {},
      execute: () => {
        showPanel(context);
        registry.showVersion(null);
        context.focusSearch();
      }
    },
    {
      id: CommandIDs.register,
      label: trans.__('Register Model…'),
      icon: addIcon,
      args: { path: trans.__('File or folder to register') },
      execute: ({ path }) => register(context, registrationOf(String(path ?? '')))
    },
    {
      id: CommandIDs.registerFile,
      label: trans.__('Register as Model…'),
      icon: registryIcon,
      args: {},
      isEnabled: () => Boolean(context.selectedPath()),
      execute: () => register(context, registrationOf(context.selectedPath() ?? ''))
    },
    {
      id: CommandIDs.refresh,
      label: trans.__('Refresh Models'),
      args: {},
      execute: () => registry.refresh()
    }
  ];
}

function versionCommands(context: ICommandContext): ICommand[] {
  const { registry, trans } = context;
  const args = {
    name: trans.__('Name of the model'),
    version: trans.__('Version of the model; the latest when left out')
  };
  const endpoint = trans.__('Name of the endpoint; asked for when left out');
  const row = (
    id: string,
    label: string,
    execute: (model: IReference, endpoint?: string) => void | Promise<void>
  ): ICommand => ({
    id,
    label,
    args: id === CommandIDs.deploy ? { ...args, endpoint } : args,
    isEnabled: given => Boolean(versionOf(context, given)),
    execute: given => {
      const model = versionOf(context, given);
      return model && execute(model, given.endpoint?.toString());
    }
  });
  return [
    row(CommandIDs.open, trans.__('Open Model'), ({ name, version }) => {
      showPanel(context);
      registry.showVersion(name, version);
    }),
    row(CommandIDs.openTab, trans.__('Open Model in Tab'), context.openTab),
    row(CommandIDs.deploy, trans.__('Deploy Model…'), (model, endpoint) => deploy(context, model, endpoint)),
    row(CommandIDs.copyReference, trans.__('Copy Model Reference'), model => copy(context, reference(model))),
    row(CommandIDs.insertCode, trans.__('Insert Code That Loads Model'), model => insertCode(context, loadCode(model))),
    row(CommandIDs.archive, trans.__('Archive Version'), model =>
      tell(context, trans.__('Archiving failed'), () => registry.run('model archive', model))
    ),
    row(CommandIDs.restore, trans.__('Restore Version'), model =>
      tell(context, trans.__('Restoring failed'), () => registry.restore(model))
    ),
    row(CommandIDs.remove, trans.__('Delete Version…'), model => removeVersion(context, model)),
    row(CommandIDs.archiveModel, trans.__('Archive All Versions'), ({ name }) =>
      tell(context, trans.__('Archiving failed'), () => registry.run('model archive', { name }))
    ),
    row(CommandIDs.removeModel, trans.__('Delete All Versions…'), ({ name }) => removeModel(context, name))
  ];
}

function endpointCommands(context: ICommandContext): ICommand[] {
  const { registry, trans } = context;
  const args = { name: trans.__('Name of the endpoint') };
  return [
    {
      id: CommandIDs.openEndpoint,
      label: trans.__('Open Endpoint'),
      args,
      isEnabled: given => Boolean(endpointOf(context, given)),
      execute: given => {
        showPanel(context);
        registry.showEndpoint(endpointOf(context, given) ?? null);
      }
    },
    {
      id: CommandIDs.removeEndpoint,
      label: trans.__('Stop and Delete Endpoint…'),
      args,
      isEnabled: given => Boolean(endpointOf(context, given)),
      execute: given => removeEndpoint(context, endpointOf(context, given) ?? '')
    },
    {
      id: CommandIDs.removeDeployment,
      label: trans.__('Delete Deployment…'),
      args: { ...args, deployment: trans.__('Name of the deployment') },
      isEnabled: given => Boolean(given.deployment && endpointOf(context, given)),
      execute: given => removeDeployment(context, String(given.deployment))
    }
  ];
}

/** The version that is meant: the one named, the one under the pointer, or the one that is open. */
function versionOf({ app, registry }: ICommandContext, args: ReadonlyPartialJSONObject): IReference | undefined {
  const clicked = args.isContext ? app.contextMenuHitTest(node => 'modelregName' in node.dataset)?.dataset : undefined;
  const name = args.name ?? clicked?.modelregName ?? registry.openVersion?.name;
  const version =
    args.version ??
    clicked?.modelregVersion ??
    (name === registry.openVersion?.name
      ? registry.openVersion?.version
      : registry.models.find(model => model.name === name)?.version);
  return name && version ? { name: String(name), version: String(version) } : undefined;
}

function endpointOf({ app, registry }: ICommandContext, args: ReadonlyPartialJSONObject): string | undefined {
  const clicked = args.isContext ? app.contextMenuHitTest(node => 'modelregEndpoint' in node.dataset) : undefined;
  const name = args.name ?? clicked?.dataset.modelregEndpoint ?? registry.openEndpoint?.name;
  return name ? String(name) : undefined;
}

function showPanel({ app }: ICommandContext): void {
  app.shell.activateById(PANEL_ID);
}

/** Ask until it is registered or the person turns away. */
async function register(context: ICommandContext, start: IRegistration): Promise<void> {
  const { registry, trans } = context;
  let form: IRegistration | null = start;
  let error: CallError | null = null;
  while ((form = await askForModel(trans, form, error))) {
    const command = toCreateModel(form);
    showPanel(context);
    error = await attempt(() => registry.register(command));
    if (!error) {
      return;
    }
  }
}

/** Deploy to an endpoint; ask which until it is done or the person turns away, unless it is named. */
async function deploy(context: ICommandContext, model: IReference, named?: string): Promise<void> {
  const { registry, trans } = context;
  if (named) {
    showPanel(context);
    await tell(context, trans.__('Deploying failed'), () => deployTo(context, model, { endpoint_name: named }));
    return;
  }
  let flavor: string | undefined;
  // Without an answer the form only offers less; deploying will say what is wrong.
  await attempt(async () => {
    ({ flavor } = await registry.read('model show', model));
  });
  let form: IDeployForm | null = deployFormFor(model);
  let error: CallError | null = null;
  while ((form = await askForPlace(trans, { model, flavor, endpoints: registry.endpoints, error }, form))) {
    const place = toPlace(form, rowOf(form, registry.endpoints));
    showPanel(context);
    error = await attempt(() => deployTo(context, model, place));
    if (!error) {
      return;
    }
  }
}

/** Deploy to a place; ask about files that can run code. Throws a `CallError`. */
async function deployTo({ registry, trans }: ICommandContext, model: IReference, place: IPlace): Promise<void> {
  const error = await attempt(() => registry.deploy(model, place, false));
  if (error && error.error !== 'UnsafeModel') {
    throw error;
  }
  if (error && (await askForTrust(trans, await registry.read('model show', model)))) {
    await registry.deploy(model, place, true);
  }
}

async function removeVersion(context: ICommandContext, { name, version }: IReference): Promise<void> {
  const { registry, trans } = context;
  const title = trans.__('Delete %1:%2 for good?', name, version);
  const body = trans.__('Its number is never used again. To hide it and keep it, archive it.');
  if (await confirm(trans, title, body, trans.__('Delete'))) {
    await tell(context, trans.__('Deleting failed'), () => registry.remove(name, version));
  }
}

async function removeModel(context: ICommandContext, name: string): Promise<void> {
  const { registry, trans } = context;
  const title = trans.__('Delete %1 with all its versions for good?', name);
  const body = trans.__('Their numbers are never used again. To hide the model and keep it, archive it.');
  if (await confirm(trans, title, body, trans.__('Delete'))) {
    await tell(context, trans.__('Deleting failed'), () => registry.remove(name));
  }
}

async function removeEndpoint(context: ICommandContext, name: string): Promise<void> {
  const { registry, trans } = context;
  const title = trans.__('Stop and delete endpoint %1?', name);
  const body = trans.__('Its URL stops answering, and its keys and log are gone. The model stays.');
  if (await confirm(trans, title, body, trans.__('Stop and delete'))) {
    await tell(context, trans.__('Stopping failed'), () => registry.stop(name));
  }
}

/** Delete one deployment of the endpoint that is open; what goes wrong is shown there. */
async function removeDeployment({ registry, trans }: ICommandContext, deployment: string): Promise<void> {
  const endpoint = registry.openEndpoint;
  const title = trans.__('Stop and delete deployment %1 of %2?', deployment, endpoint?.name);
  const body = trans.__(
    'Its processes end, and its log is gone. The endpoint, its other deployments and the model stay.'
  );
  if (endpoint && (await confirm(trans, title, body, trans.__('Delete')))) {
    await endpoint.removeDeployment(deployment);
  }
}

/** Do something, and tell what went wrong. */
async function tell({ trans }: ICommandContext, title: string, action: () => Promise<unknown>): Promise<void> {
  const error = await attempt(action);
  if (error) {
    await showFailure(trans, title, error);
  }
}

export function copy({ trans }: { trans: TranslationBundle }, text: string, isSecret = false): void {
  Clipboard.copyToSystem(text);
  // Notifications are kept in a list that anybody may open.
  Notification.info(isSecret ? trans.__('Copied') : trans.__('Copied %1', text), { autoClose: 2000 });
}

/** Write a new cell into the notebook one looks at; without a notebook the code goes to the clipboard. */
async function insertCode({ app, trans }: ICommandContext, code: string): Promise<void> {
  const { commands } = app;
  if (isReady(commands, 'notebook:replace-selection')) {
    await commands.execute('notebook:insert-cell-below');
    await commands.execute('notebook:replace-selection', { text: code });
    return;
  }
  Clipboard.copyToSystem(code);
  Notification.info(trans.__('No notebook is in front; copied instead: %1', code), { autoClose: 4000 });
}

function isReady(commands: CommandRegistry, id: string): boolean {
  return commands.hasCommand(id) && commands.isEnabled(id);
}
