/** The list of endpoints, and one endpoint with a box to call it. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { copyIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { EndpointModel } from '../endpoint';
import { formatSize, IReference, modelOf } from '../format';
import type { IEndpointRow } from '../model';
import type { IDeploymentNumbers } from '../schema';
import { Busy, Button, Facts, Failure, Fold, Heading, moveFocus, takeLostFocus } from './parts';

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

/** Whether nobody answers at its URL until it is deployed again. */
function isDown(row: IEndpointRow): boolean {
  return ['failed', 'stopped'].includes(row.endpoint.state ?? '');
}

export interface IEndpointProps {
  trans: TranslationBundle;
  endpoint: EndpointModel;
  /** Whether the browser runs on another machine than the endpoint. */
  isRemote: boolean;
  onBack?: () => void;
  /** Copy a text and say so; a secret is not repeated. */
  onCopy: (text: string, isSecret: boolean) => void;
  onDelete: (name: string) => void;
  onDeployAgain: (model: IReference, endpointName: string) => void;
  onOpenModel: (model: IReference) => void;
}

interface IPartProps extends IEndpointProps {
  row: IEndpointRow;
}

export function Endpoint(props: IEndpointProps): JSX.Element {
  const { trans, endpoint } = props;
  const { row } = endpoint;
  return (
    <div className="jp-modelreg-Page" role="region" aria-label={trans.__('Endpoint')}>
      <Heading title={endpoint.name} back={trans.__('Back to endpoints')} onBack={props.onBack}>
        {row && <State state={row.endpoint.state} trans={trans} />}
      </Heading>
      {!row && <p className="jp-modelreg-Empty">{trans.__('This endpoint is gone.')}</p>}
      {row && <Parts {...props} row={row} />}
    </div>
  );
}

function Parts(props: IPartProps): JSX.Element {
  const { trans, endpoint, row } = props;
  return (
    <>
      {row.endpoint.error && (
        <div className="jp-modelreg-Failure" role="alert">
          {row.endpoint.error}
        </div>
      )}
      {row.endpoint.state === 'starting' && <Busy label={trans.__('Loading the model …')} />}
      {endpoint.error && <Failure error={endpoint.error} trans={trans} />}
      <div className="jp-modelreg-Columns">
        <div>
          <Address {...props} />
          <Deployments {...props} />
          {!isDown(row) && <Console {...props} />}
        </div>
        <div>
          {!isDown(row) && <Keys {...props} />}
          <Log {...props} />
          <Foot {...props} />
        </div>
      </div>
    </>
  );
}

function Address({ trans, row, isRemote, onCopy, onOpenModel }: IPartProps): JSX.Element {
  const url = row.endpoint.scoring_uri ?? '';
  const model = row.deployment && modelOf(row.deployment);
  return (
    <Facts
      rows={[
        [
          trans.__('URL'),
          url && (
            <span className="jp-modelreg-Copy">
              <code title={url}>{url}</code>
              <Button icon={copyIcon} label={trans.__('Copy URL')} onClick={() => onCopy(url, false)} />
            </span>
          )
        ],
        [isRemote ? trans.__('Reached from') : '', isRemote && trans.__('the machine that runs Jupyter')],
        [
          trans.__('Model'),
          model && (
            <button type="button" className="jp-modelreg-Link" onClick={() => onOpenModel(model)}>
              {`${model.name}:${model.version}`}
            </button>
          )
        ]
      ]}
    />
  );
}

/** Each deployment: its state, its model, its share of the traffic and how it does. */
function Deployments({ trans, endpoint, row, onOpenModel }: IPartProps): JSX.Element | null {
  const { shares, wantedShares } = endpoint;
  const isSplit = row.deployments.length > 1;
  const sum = Object.values(wantedShares).reduce((all, percent) => all + percent, 0);
  const set = (event: React.FormEvent): void => {
    event.preventDefault();
    void endpoint.applyShares();
  };
  return (
    <form className="jp-modelreg-Field" aria-label={trans.__('Deployments')} onSubmit={set}>
      {row.deployments.map(deployment => {
        const name = deployment.name ?? '';
        const model = modelOf(deployment);
        return (
          <div key={name} className="jp-modelreg-Deployment" title={deployment.error ?? undefined}>
            <span className="jp-modelreg-Row-line">
              <span className="jp-modelreg-Row-title" title={name}>
                {name}
              </span>
              <span className="jp-modelreg-Space" />
              {isSplit && (
                <input
                  type="number"
                  className="jp-modelreg-Share jp-mod-styled"
                  aria-label={trans.__('Traffic of %1 in percent', name)}
                  min={0}
                  max={100}
                  value={wantedShares[name] ?? 0}
                  onChange={event => endpoint.setShare(name, event.target.valueAsNumber || 0)}
                />
              )}
              {isSplit && <span className="jp-modelreg-Note">%</span>}
              <State state={deployment.state} trans={trans} />
            </span>
            <span className="jp-modelreg-Note">
              {model && isSplit && (
                <button type="button" className="jp-modelreg-Link" onClick={() => onOpenModel(model)}>
                  {`${model.name}:${model.version}`}
                </button>
              )}
              {model && isSplit && ' · '}
              {numbersText(endpoint.numbers[name], trans)}
            </span>
          </div>
        );
      })}
      {isSplit && (
        <div className="jp-modelreg-Actions">
          <button
            type="submit"
            className="jp-modelreg-Button jp-mod-styled"
            disabled={sum > 100 || !Object.keys(shares).length}
          >
            {trans.__('Set traffic')}
          </button>
          <span className="jp-modelreg-Note" role="status">
            {sum > 100 ? trans.__('%1 % in all: at most 100', sum) : trans.__('%1 % in all', sum)}
          </span>
        </div>
      )}
    </form>
  );
}

/** What a deployment did since its instances started, in one line. */
function numbersText(numbers: IDeploymentNumbers | undefined, trans: TranslationBundle): string {
  if (!numbers) {
    return '';
  }
  const { errors = 0, instances = 0, memory_bytes: memory, p50_ms: half, p95_ms: most, requests = 0 } = numbers;
  const latency = [half, most].map(value => (value ?? 0).toPrecision(2));
  return [
    trans._n('%1 instance', '%1 instances', instances),
    trans._n('%1 request', '%1 requests', requests),
    errors && trans._n('%1 error', '%1 errors', errors),
    half !== undefined && half !== null && trans.__('half within %1 ms, 95 % within %2 ms', ...latency),
    memory && formatSize(memory)
  ]
    .filter(Boolean)
    .join(', ');
}

/** A request, a button, and what came back. */
function Console({ trans, endpoint, row }: IPartProps): JSX.Element {
  const { answer, failure, isSending, request } = endpoint;
  const send = (event: React.SyntheticEvent): void => {
    event.preventDefault();
    void endpoint.send();
  };
  return (
    <form className="jp-modelreg-Console" onSubmit={send}>
      <textarea
        className="jp-mod-styled"
        aria-label={trans.__('Request')}
        rows={6}
        spellCheck={false}
        wrap="off"
        value={request}
        onChange={event => endpoint.setRequest(event.target.value)}
        onKeyDown={event => event.key === 'Enter' && (event.ctrlKey || event.metaKey) && send(event)}
      />
      <div className="jp-modelreg-Actions">
        <button
          type="submit"
          className="jp-modelreg-Button jp-mod-styled jp-mod-accept"
          title={trans.__('Send the request (Ctrl+Enter)')}
          disabled={isSending || row.endpoint.state !== 'healthy'}
        >
          {trans.__('Send')}
        </button>
        {isSending && <Busy label={trans.__('Waiting …')} />}
        {answer && (
          <span className="jp-modelreg-Note" role="status">
            {trans.__('%1 ms', answer.milliseconds.toFixed(1))}
          </span>
        )}
      </div>
      {failure && <Failure error={failure} trans={trans} />}
      {answer && (
        <pre role="region" aria-label={trans.__('Answer')} tabIndex={0}>
          {answer.text}
        </pre>
      )}
    </form>
  );
}

function Keys({ trans, endpoint, onCopy }: IPartProps): JSX.Element {
  const { keys } = endpoint;
  const rows = keys
    ? [
        { label: trans.__('Primary key'), copyLabel: trans.__('Copy primary key'), key: keys.primaryKey },
        { label: trans.__('Secondary key'), copyLabel: trans.__('Copy secondary key'), key: keys.secondaryKey },
        { label: trans.__('Token'), copyLabel: trans.__('Copy token'), key: keys.accessToken }
      ].flatMap(row => (row.key ? [{ ...row, key: row.key }] : []))
    : [];
  return (
    <div className="jp-modelreg-Field">
      <Button
        label={keys ? trans.__('Hide keys') : trans.__('Show keys')}
        text={keys ? trans.__('Hide keys') : trans.__('Show keys')}
        onClick={() => (keys ? endpoint.hideKeys() : void endpoint.showKeys())}
      />
      <Facts
        rows={rows.map(({ label, copyLabel, key }) => [
          label,
          <span className="jp-modelreg-Copy">
            <code>{key}</code>
            <Button icon={copyIcon} label={copyLabel} onClick={() => onCopy(key, true)} />
          </span>
        ])}
      />
    </div>
  );
}

function Log({ trans, endpoint, row }: IPartProps): JSX.Element {
  const box = React.useRef<HTMLPreElement>(null);
  const { log } = endpoint;
  React.useEffect(() => {
    box.current?.scrollTo(0, box.current.scrollHeight);
  }, [log]);
  return (
    <Fold title={trans.__('Log')} isOpen={isDown(row)} onOpen={() => void endpoint.loadLog()}>
      <pre ref={box} role="log" aria-label={trans.__('Log')} tabIndex={0}>
        {log || trans.__('Nothing was printed.')}
      </pre>
      <Button label={trans.__('Refresh log')} text={trans.__('Refresh log')} onClick={() => void endpoint.loadLog()} />
    </Fold>
  );
}

function Foot(props: IPartProps): JSX.Element {
  const { trans, endpoint, row } = props;
  const model = row.deployment && modelOf(row.deployment);
  return (
    <div className="jp-modelreg-Actions">
      {row.endpoint.state === 'stopped' && (
        <Button isAccent label={trans.__('Start')} text={trans.__('Start')} onClick={() => void endpoint.start()} />
      )}
      {model && row.endpoint.state === 'failed' && (
        <Button
          isAccent
          label={trans.__('Deploy again')}
          text={trans.__('Deploy again')}
          onClick={() => props.onDeployAgain(model, endpoint.name)}
        />
      )}
      <Button
        label={trans.__('Stop and delete')}
        text={trans.__('Stop and delete')}
        onClick={() => props.onDelete(endpoint.name)}
      />
    </div>
  );
}
