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

/** An endpoint: it sends. Source of the shape: Material icons, "wifi tethering", Apache-2.0. */
export const endpointIcon = new LabIcon({
  name: 'jupyter-modelreg:endpoint',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M12 11c-1.100 0-2 .9-2 2s.9 2 2 2 2-.9 2-2-.9-2-2-2zm6 2c0-3.310-2.690-6-6-6s-6 2.690-6 6c0 2.220 1.210 4.150 3 5.190l1-1.740c-1.190-.7-2-1.970-2-3.450 0-2.210 1.790-4 4-4s4 1.790 4 4c0 1.480-.810 2.750-2 3.450l1 1.740c1.790-1.040 3-2.970 3-5.190zM12 3C6.480 3 2 7.480 2 13c0 3.700 2.010 6.920 4.990 8.650l1-1.730C5.610 18.530 4 15.960 4 13c0-4.420 3.580-8 8-8s8 3.580 8 8c0 2.960-1.610 5.530-4 6.920l1 1.730c2.990-1.730 5-4.950 5-8.650 0-5.520-4.480-10-10-10z"/>
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
