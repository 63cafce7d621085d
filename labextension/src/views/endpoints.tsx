/** The list of endpoints. */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { modelOf } from '../format';
import type { IEndpointRow } from '../model';
import { Busy, moveFocus, takeLostFocus } from './parts';

export interface IEndpointsProps {
  trans: TranslationBundle;
  rows: IEndpointRow[];
  /** Endpoints that are being deployed to, and by which model. */
  pending: ReadonlyMap<string, string>;
  isLoaded: boolean;
  focused?: string;
  onOpen: (name: string) => void;
}

export function Endpoints(props: IEndpointsProps): JSX.Element {
  const { trans, rows } = props;
  return (
    <div className="jp-modelreg-Page">
      {[...props.pending].map(([name, model]) => (
        <Busy key={name} label={trans.__('Deploying %1 to %2 …', model, name)} />
      ))}
      {props.isLoaded && !rows.length && !props.pending.size && (
        <p className="jp-modelreg-Empty">
          {trans.__('No endpoints. Open a model and choose Deploy to give it a URL.')}
        </p>
      )}
      <ul className="jp-modelreg-Rows" aria-label={trans.__('Endpoints')} onKeyDown={moveFocus}>
        {rows.map((row, index) => (
          <EndpointRow key={row.endpoint.name} {...props} row={row} isFirst={index === 0} />
        ))}
      </ul>
    </div>
  );
}

function EndpointRow(props: IEndpointsProps & { row: IEndpointRow; isFirst: boolean }): JSX.Element {
  const { row, trans } = props;
  const name = row.endpoint.name ?? '';
  const button = React.useRef<HTMLButtonElement>(null);
  React.useEffect(() => {
    if (name === props.focused) {
      takeLostFocus(button.current);
    }
  }, []);
  return (
    <li className="jp-modelreg-Row" data-modelreg-endpoint={name}>
      <button
        ref={button}
        type="button"
        className="jp-modelreg-Row-open"
        tabIndex={props.isFirst ? 0 : -1}
        title={row.endpoint.error ?? name}
        onClick={() => props.onOpen(name)}
      >
        <span className="jp-modelreg-Row-line">
          <span className="jp-modelreg-Row-title">{name}</span>
          <span className="jp-modelreg-Space" />
          <State state={row.endpoint.state} trans={trans} />
        </span>
        <span className="jp-modelreg-Row-line jp-modelreg-Note">
          {[servedBy(row), row.endpoint.scoring_uri].filter(Boolean).join(' · ')}
        </span>
      </button>
    </li>
  );
}

/** A dot and the word for it, since a colour alone says nothing to many. */
export function State(props: { state: string | undefined; trans: TranslationBundle }): JSX.Element {
  const { trans, state = 'empty' } = props;
  const words: { [state: string]: string } = {
    starting: trans.__('starting'),
    healthy: trans.__('healthy'),
    unhealthy: trans.__('unhealthy'),
    failed: trans.__('failed'),
    stopping: trans.__('stopping'),
    stopped: trans.__('stopped'),
    empty: trans.__('empty')
  };
  return (
    <span className={`jp-modelreg-State jp-mod-${state}`}>
      <span className="jp-modelreg-Dot" aria-hidden="true" />
      {words[state] ?? state}
    </span>
  );
}

/** The model behind an endpoint, as `churn:3`, and how many deployments stand beside it, as `+1`. */
export function servedBy(row: IEndpointRow): string {
  const model = row.deployment && modelOf(row.deployment);
  const others = row.deployments.length > 1 ? ` +${row.deployments.length - 1}` : '';
  return model ? `${model.name}:${model.version}${others}` : '';
}
