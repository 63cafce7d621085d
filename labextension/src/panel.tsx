/** The widgets: a sidebar panel with two sections, and a tab for one version. They join the model to the views. */

import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, ReactWidget, UseSignal, WidgetTracker } from '@jupyterlab/apputils';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import { PanelWithToolbar, SidePanel } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import type { IDisposable } from '@lumino/disposable';
import type { Message } from '@lumino/messaging';
import type { Widget } from '@lumino/widgets';
import * as React from 'react';

import { CommandIDs, copy } from './commands';
import { followDrag } from './drag';
import type { EndpointModel } from './endpoint';
import { IReference, loadCode, referenceOf } from './format';
import { registryIcon } from './icons';
import type { RegistryModel } from './model';
import type { IModel } from './schema';
import { PANEL_ID } from './tokens';
import { VersionModel } from './version';
import { Endpoint } from './views/endpoint';
import { Endpoints } from './views/endpoints';
import { Models } from './views/models';
import { ServerMessage } from './views/server';
import { IVersionActions, Version } from './views/version';

const LOOPBACK = /^(localhost|127\..*|\[::1\])$/;

export interface IPanelOptions {
  registry: RegistryModel;
  commands: CommandRegistry;
  translator: ITranslator;
  trans: TranslationBundle;
}

export class RegistryPanel extends SidePanel {
  constructor(private readonly _options: IPanelOptions) {
    super({ translator: _options.translator });
    const { registry, trans } = _options;
    this.id = PANEL_ID;
    this.addClass('jp-modelreg-Panel');
    this.title.icon = registryIcon;
    this.title.caption = trans.__('Model Registry');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('Model Registry'));
    this.header.addWidget(messageWidget(_options));
    this.addWidget(section(trans.__('Models'), modelsWidget(_options)));
    this.addWidget(section(trans.__('Endpoints'), endpointsWidget(_options)));
    registry.changed.connect(this._onChanged, this);
  }

  /** Put the cursor into the search box. */
  focusSearch(): void {
    // What is typed next must land in it, so at once; the box may be drawn only now, where a version was open.
    this._searchBox?.focus();
    requestAnimationFrame(() => this._searchBox?.focus());
  }

  override dispose(): void {
    this._watching?.dispose();
    super.dispose();
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._watching ??= this._options.registry.watch();
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this._watching?.dispose();
    this._watching = null;
  }

  /** Without the server part there is nothing to list. */
  private _onChanged(registry: RegistryModel): void {
    this.content.setHidden(registry.error?.error === 'ServerMissing');
  }

  private get _searchBox(): HTMLElement | null {
    return this.node.querySelector<HTMLElement>('.jp-modelreg-Search-input');
  }

  private _watching: IDisposable | null = null;
}

/** Versions in tabs of the main area, where there is more room. */
export class VersionTabs {
  constructor(
    private readonly _options: IPanelOptions,
    private readonly _shell: JupyterFrontEnd.IShell
  ) {}

  /** Open a version, or go to the tab that has it. */
  open(reference: IReference): void {
    let tab = this._tracker.find(item => item.id === tabId(reference));
    if (!tab) {
      tab = versionTab(this._options, reference);
      void this._tracker.add(tab);
      this._shell.add(tab, 'main');
    }
    this._shell.activateById(tab.id);
  }

  /** Open again what was open when the page was left. */
  restore(restorer: ILayoutRestorer): void {
    void restorer.restore(this._tracker, {
      command: CommandIDs.openTab,
      name: tab => tab.title.label,
      args: tab => {
        const [name, version] = tab.title.label.split(':');
        return { name, version };
      }
    });
  }

  private readonly _tracker = new WidgetTracker<MainAreaWidget>({ namespace: 'modelreg' });
}

function tabId({ name, version }: IReference): string {
  return `jp-modelreg-tab-${name}:${version}`;
}

function versionTab(options: IPanelOptions, reference: IReference): MainAreaWidget {
  const model = new VersionModel(options.registry, reference.name, reference.version);
  const content = ReactWidget.create(
    <UseSignal signal={model.changed}>
      {() => <Version {...versionActions(options, CommandIDs.openTab)} trans={options.trans} version={model} />}
    </UseSignal>
  );
  content.addClass('jp-modelreg-Tab');
  const watching = options.registry.watch();
  content.disposed.connect(() => {
    watching.dispose();
    model.dispose();
  });
  const tab = new MainAreaWidget({ content });
  tab.toolbar.hide();
  tab.id = tabId(reference);
  tab.title.label = `${reference.name}:${reference.version}`;
  tab.title.icon = registryIcon;
  return tab;
}

function section(title: string, content: Widget): PanelWithToolbar {
  const widget = new PanelWithToolbar();
  widget.addClass('jp-modelreg-Section');
  widget.title.label = title;
  widget.addWidget(content);
  return widget;
}

function messageWidget({ registry, trans }: IPanelOptions): Widget {
  return ReactWidget.create(
    <UseSignal signal={registry.changed}>
      {() => (
        <ServerMessage
          trans={trans}
          error={registry.error}
          serverVersion={registry.status?.version}
          version={registry.version}
          onRetry={() => void registry.refresh()}
        />
      )}
    </UseSignal>
  );
}

function modelsWidget(options: IPanelOptions): Widget {
  const { registry } = options;
  let lastOpened: string | undefined;
  return ReactWidget.create(
    <UseSignal signal={registry.changed}>
      {() => {
        lastOpened = registry.openVersion?.name ?? lastOpened;
        return registry.openVersion ? (
          <OpenVersion options={options} version={registry.openVersion} />
        ) : (
          <ModelList options={options} focused={lastOpened} />
        );
      }}
    </UseSignal>
  );
}

function OpenVersion(props: { options: IPanelOptions; version: VersionModel }): JSX.Element {
  const { options, version } = props;
  return (
    <UseSignal signal={version.changed} key={`${version.name}:${version.wanted}`}>
      {() => (
        <Version
          {...versionActions(options, CommandIDs.open)}
          trans={options.trans}
          version={version}
          onBack={() => options.registry.showVersion(null)}
        />
      )}
    </UseSignal>
  );
}

function ModelList(props: { options: IPanelOptions; focused?: string }): JSX.Element {
  const { registry, commands, trans } = props.options;
  return (
    <Models
      list={registry}
      trans={trans}
      focused={props.focused}
      onSearch={text => registry.setSearch(text)}
      onShowArchived={shows => void registry.setShowsArchived(shows)}
      onShowMore={() => void registry.showMore()}
      onOpen={model => registry.showVersion(model.name ?? null, model.version)}
      onDrag={(model, event) => followDrag(event.nativeEvent, loadCode(referenceOf(model)))}
      onRegister={() => void commands.execute(CommandIDs.register)}
      onRefresh={() => void commands.execute(CommandIDs.refresh)}
    />
  );
}

/** What the buttons of a version do; another version opens where this one is. */
function versionActions({ commands }: IPanelOptions, opener: string): IVersionActions {
  const execute = (id: string) => (model: IModel) => void commands.execute(id, { ...referenceOf(model) });
  return {
    onDeploy: execute(CommandIDs.deploy),
    onInsertCode: execute(CommandIDs.insertCode),
    onCopyReference: execute(CommandIDs.copyReference),
    onArchive: execute(CommandIDs.archive),
    onRestore: execute(CommandIDs.restore),
    onDelete: execute(CommandIDs.remove),
    onOpen: execute(opener),
    onOpenTab: execute(CommandIDs.openTab),
    onOpenEndpoint: name => void commands.execute(CommandIDs.openEndpoint, { name })
  };
}

function endpointsWidget(options: IPanelOptions): Widget {
  const { registry } = options;
  let lastOpened: string | undefined;
  return ReactWidget.create(
    <UseSignal signal={registry.changed}>
      {() => {
        lastOpened = registry.openEndpoint?.name ?? lastOpened;
        return registry.openEndpoint ? (
          <OpenEndpoint options={options} endpoint={registry.openEndpoint} />
        ) : (
          <Endpoints
            trans={options.trans}
            rows={registry.endpoints}
            pending={registry.pending}
            isLoaded={registry.isLoaded}
            focused={lastOpened}
            onOpen={name => registry.showEndpoint(name)}
          />
        );
      }}
    </UseSignal>
  );
}

function OpenEndpoint(props: { options: IPanelOptions; endpoint: EndpointModel }): JSX.Element {
  const { endpoint } = props;
  const { registry, commands, trans } = props.options;
  return (
    <UseSignal signal={endpoint.changed} key={endpoint.name}>
      {() => (
        <Endpoint
          trans={trans}
          endpoint={endpoint}
          isRemote={!LOOPBACK.test(window.location.hostname)}
          onBack={() => registry.showEndpoint(null)}
          onCopy={(text, isSecret) => copy({ trans }, text, isSecret)}
          onDelete={name => void commands.execute(CommandIDs.removeEndpoint, { name })}
          onDeleteDeployment={deployment =>
            void commands.execute(CommandIDs.removeDeployment, { name: endpoint.name, deployment })
          }
          onDeployAgain={(model, name) => void commands.execute(CommandIDs.deploy, { ...model, endpoint: name })}
          onOpenModel={({ name, version }) => registry.showVersion(name, version)}
        />
      )}
    </UseSignal>
  );
}
