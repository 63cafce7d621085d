/** What is said when the server part is missing, is another version, or does not answer. */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { CallError } from '../call';
import { Button } from './parts';

/** What makes the server load its part. */
export const ENABLE_COMMAND = 'jupyter server extension enable jupyter_modelreg';

const UPGRADE_COMMAND = 'pip install --upgrade jupyter-modelreg';

export interface IServerMessageProps {
  trans: TranslationBundle;
  error: CallError | null;
  /** The server part's version, when it is known. */
  serverVersion?: string;
  /** The panel's own version. */
  version: string;
  onRetry: () => void;
}

export function ServerMessage(props: IServerMessageProps): JSX.Element | null {
  const { trans, error, serverVersion, version } = props;
  if (error?.error === 'ServerMissing') {
    return <Missing {...props} />;
  }
  if (serverVersion && serverVersion !== version) {
    return (
      <div className="jp-modelreg-Message" role="alert">
        <p>
          {trans.__(
            'The panel is version %1, its server part %2. Restart JupyterLab and reload this page; if that does not help:',
            version,
            serverVersion
          )}
        </p>
        <pre>{UPGRADE_COMMAND}</pre>
      </div>
    );
  }
  return null;
}

function Missing({ trans, onRetry }: IServerMessageProps): JSX.Element {
  return (
    <div className="jp-modelreg-Message" role="alert">
      <p>{trans.__('The server part of the model registry is not running. Enable it, then restart JupyterLab:')}</p>
      <pre>{ENABLE_COMMAND}</pre>
      <p>{trans.__('If that fails, install jupyter-modelreg where the Jupyter server runs.')}</p>
      <Button label={trans.__('Try again')} text={trans.__('Try again')} onClick={onRetry} />
    </div>
  );
}
