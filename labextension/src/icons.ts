/** The extension's own icons; the rest are JupyterLab's. */

import { LabIcon } from '@jupyterlab/ui-components';

/** A box on a shelf of boxes. */
export const registryIcon = new LabIcon({
  name: 'jupyter-modelreg:registry',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M12 1.6 20.7 6.4v9.9L12 21.2 3.3 16.3V6.4zm0 2.2L6.4 6.9 12 10l5.6-3.1zM5.2 8.4v6.8l5.8 3.3v-6.9zm13.6 0L13 11.6v6.9l5.8-3.3z"/>
  </g>
</svg>`
});

/** An endpoint: a point that sends. */
export const endpointIcon = new LabIcon({
  name: 'jupyter-modelreg:endpoint',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <circle class="jp-icon3" fill="#616161" cx="12" cy="12" r="2.5"/>
  <g class="jp-icon3" stroke="#616161" style="fill:none" stroke-width="2" stroke-linecap="round">
    <path d="M8 16a5.7 5.7 0 0 1 0-8M16 8a5.7 5.7 0 0 1 0 8M5 19a9.9 9.9 0 0 1 0-14M19 5a9.9 9.9 0 0 1 0 14"/>
  </g>
</svg>`
});

/** Away into the archive. */
export const archiveIcon = new LabIcon({
  name: 'jupyter-modelreg:archive',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M3 3h18v5h-1v13H4V8H3zm2 2v1h14V5zm1 3v11h12V8zm3 2h6v2H9z"/>
  </g>
</svg>`
});
