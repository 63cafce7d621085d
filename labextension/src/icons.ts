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

/** An endpoint: a plug on a line. */
export const endpointIcon = new LabIcon({
  name: 'jupyter-modelreg:endpoint',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M12 2 3 20.5l1 1L12 18l8 3.500 1-1zm0 5 5.500 11L12 15.800 6.500 18z"/>
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
