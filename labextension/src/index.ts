/** Wires the panel into JupyterLab. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { SidePanel } from '@jupyterlab/ui-components';

const panel: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-modelreg:panel',
  description: 'The sidebar panel of models and endpoints.',
  autoStart: true,
  requires: [],
  activate: (app: JupyterFrontEnd) => {
    const widget = new SidePanel();
    widget.id = 'jp-modelreg-panel';
    widget.title.caption = 'Model Registry';
    widget.title.label = 'Models';
    app.shell.add(widget, 'left', { rank: 600 });
  }
};

export default [panel];
