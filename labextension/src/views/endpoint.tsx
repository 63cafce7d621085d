/** One endpoint: where it is, its deployments, a box to call it, its keys and its logs. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { copyIcon, deleteIcon, HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { EndpointModel } from '../endpoint';
import { formatMilliseconds, formatRate, formatSize, IReference, modelOf } from '../format';
import type { IEndpointRow } from '../model';
import type { IDeploymentNumbers, IOnlineDeployment } from '../schema';
import { State } from './endpoints';
import { Busy, Button, Facts, Failure, Fold, Heading } from './parts';

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
  onDeleteDeployment: (name: string) => void;
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
  const isEmpty = row.deployments.length === 0;
  return (
    <>
      {row.endpoint.error && (
        <div className="jp-modelreg-Failure" role="alert">
          {row.endpoint.error}
        </div>
      )}
      <Revive {...props} />
      {row.endpoint.state === 'starting' && <Busy label={trans.__('Loading the model …')} />}
      {endpoint.error && <Failure error={endpoint.error} trans={trans} />}
      {endpoint.readError && <Failure error={endpoint.readError} trans={trans} />}
      <div className="jp-modelreg-Columns">
        <div>
          <Address {...props} />
          <Deployments {...props} />
          {isEmpty && (
            <p className="jp-modelreg-Empty">
              {trans.__('Nothing is deployed here yet. Open a model and choose Deploy.')}
            </p>
          )}
          {!isDown(row) && !isEmpty && <Console {...props} />}
        </div>
        <div>
          {!isDown(row) && <Keys {...props} />}
          {!isEmpty && <Log {...props} />}
          <Foot {...props} />
        </div>
      </div>
    </>
  );
}

/** What brings an endpoint back that does not answer, beside the words that say why. */
function Revive({ trans, endpoint, row, onDeployAgain }: IPartProps): JSX.Element | null {
  const model = row.deployment && modelOf(row.deployment);
  if (row.endpoint.state === 'stopped') {
    return (
      <div className="jp-modelreg-Actions">
        <Button isAccent label={trans.__('Start')} text={trans.__('Start')} onClick={() => void endpoint.start()} />
      </div>
    );
  }
  return model && row.endpoint.state === 'failed' ? (
    <div className="jp-modelreg-Actions">
      <Button
        isAccent
        label={trans.__('Deploy again')}
        text={trans.__('Deploy again')}
        onClick={() => onDeployAgain(model, endpoint.name)}
      />
    </div>
  ) : null;
}

function Address({ trans, endpoint, row, isRemote, onCopy, onOpenModel }: IPartProps): JSX.Element {
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
          trans.__('Try it'),
          url && !isDown(row) && (
            <span className="jp-modelreg-Try">
              <Button
                label={trans.__('Copy a line for a shell that sends the request, with the key')}
                text={trans.__('Copy as curl')}
                onClick={() => void endpoint.curl().then(line => line && onCopy(line, true))}
              />
              {!isRemote && (
                <a
                  className="jp-modelreg-Link"
                  href={url.replace(/\/score$/, '/docs')}
                  target="_blank"
                  rel="noreferrer"
                >
                  {trans.__('API page')}
                </a>
              )}
            </span>
          )
        ],
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

/** Each deployment: its state, its model, its share of the traffic, how it does, and what can be done with it. */
function Deployments(props: IPartProps): JSX.Element {
  const { trans, endpoint, row } = props;
  const isSplit = row.deployments.length > 1;
  const set = (event: React.FormEvent): void => {
    event.preventDefault();
    void endpoint.applyShares();
  };
  return (
    <form className="jp-modelreg-Field" aria-label={trans.__('Deployments')} onSubmit={set}>
      {row.deployments.map(deployment => (
        <Deployment key={deployment.name} {...props} deployment={deployment} isSplit={isSplit} />
      ))}
      {isSplit && <Traffic {...props} />}
    </form>
  );
}

function Deployment(props: IPartProps & { deployment: IOnlineDeployment; isSplit: boolean }): JSX.Element {
  const { trans, endpoint, row, deployment, isSplit, onOpenModel, onDeleteDeployment } = props;
  const name = deployment.name ?? '';
  const model = modelOf(deployment);
  const share = endpoint.wantedShares[name] ?? 0;
  return (
    <div className="jp-modelreg-Deployment" role="group" aria-label={trans.__('Deployment %1', name)}>
      <span className="jp-modelreg-Row-line">
        <span className="jp-modelreg-Row-title" title={name}>
          {name}
        </span>
        <span className="jp-modelreg-Space" />
        <State state={deployment.state} trans={trans} />
      </span>
      {isSplit && (
        <span className="jp-modelreg-Row-line">
          <Bar percent={share} />
          <Percent
            label={trans.__('Traffic of %1 in percent', name)}
            max={100}
            value={share}
            onChange={percent => endpoint.setShare(name, percent)}
          />
        </span>
      )}
      <span className="jp-modelreg-Note">
        {model && isSplit && (
          <button type="button" className="jp-modelreg-Link" onClick={() => onOpenModel(model)}>
            {`${model.name}:${model.version}`}
          </button>
        )}
        {model && isSplit && ' · '}
        {numbersText(endpoint.numbers[name], trans)}
      </span>
      {deployment.error && deployment.error !== row.endpoint.error && (
        <div className="jp-modelreg-Failure" role="alert">
          {deployment.error}
        </div>
      )}
      {deployment.notices?.map(notice => (
        <div key={notice} className="jp-modelreg-Note">
          {notice}
        </div>
      ))}
      <span className="jp-modelreg-Row-line">
        <Scale trans={trans} deployment={deployment} onScale={count => void endpoint.scale(name, count)} />
        <span className="jp-modelreg-Space" />
        {isSplit && (
          <Button
            label={trans.__('Show the log of %1', name)}
            text={trans.__('Log')}
            isPressed={endpoint.log !== null && endpoint.logOf === name}
            onClick={() => void endpoint.loadLog(name)}
          />
        )}
        {isSplit && (
          <Button
            icon={deleteIcon}
            label={trans.__('Delete deployment %1', name)}
            onClick={() => onDeleteDeployment(name)}
          />
        )}
      </span>
    </div>
  );
}

/** A share as a length; the number beside it says the same. */
function Bar({ percent }: { percent: number }): JSX.Element {
  return (
    <span className="jp-modelreg-Bar" aria-hidden="true">
      <span style={{ width: `${Math.min(Math.max(percent, 0), 100)}%` }} />
    </span>
  );
}

interface IPercentProps {
  label: string;
  value: number;
  max: number;
  onChange: (percent: number) => void;
}

function Percent({ label, value, max, onChange }: IPercentProps): JSX.Element {
  return (
    <>
      <input
        type="number"
        className="jp-modelreg-Share jp-mod-styled"
        aria-label={label}
        min={0}
        max={max}
        value={value}
        onChange={event => onChange(event.target.valueAsNumber || 0)}
      />
      <span className="jp-modelreg-Note">%</span>
    </>
  );
}

interface IScaleProps {
  trans: TranslationBundle;
  deployment: IOnlineDeployment;
  onScale: (instances: number) => void;
}

/** How many processes it shall have; a range that follows the load is only told. */
function Scale({ trans, deployment, onScale }: IScaleProps): JSX.Element {
  const { instance_count: wanted = 1, name, scale_settings: settings } = deployment;
  const [text, setText] = React.useState(String(wanted));
  React.useEffect(() => setText(String(wanted)), [wanted]);
  if (settings && settings.type !== 'default') {
    const { min_instances: least = 1, max_instances: most = 1 } = settings;
    return <span className="jp-modelreg-Note">{trans.__('%1 to %2 instances by load', least, most)}</span>;
  }
  const apply = (): void => {
    if (text && Number(text) !== wanted) {
      onScale(Number(text)); // who asks for none or too many is told so
    } else {
      setText(String(wanted));
    }
  };
  return (
    <label className="jp-modelreg-Scale">
      <span className="jp-modelreg-Note">{trans.__('Instances')}</span>
      <input
        type="number"
        className="jp-modelreg-Share jp-mod-styled"
        aria-label={trans.__('Instances of %1', name)}
        min={1}
        max={64}
        value={text}
        onChange={event => setText(event.target.value)}
        onBlur={apply}
        onKeyDown={event => {
          if (event.key === 'Enter') {
            event.preventDefault();
            apply();
          }
        }}
      />
    </label>
  );
}

/** Azure ML mirrors half of the traffic at most, to one deployment that answers none of it. */
const MOST_MIRRORED = 50;

/** Who gets copies, the sum of the shares, and the button that sets both. */
function Traffic({ trans, endpoint, row }: IPartProps): JSX.Element {
  const { wantedShares, wantedMirror } = endpoint;
  const shares = Object.values(wantedShares);
  const sum = shares.reduce((all, percent) => all + percent, 0);
  const idle = row.deployments.map(({ name }) => name ?? '').filter(name => !wantedShares[name]);
  const mirrored = wantedMirror?.name ?? '';
  const percent = wantedMirror?.percent ?? 0;
  const isLess = [...shares, percent].some(share => share < 0);
  return (
    <>
      {(idle.length > 0 || mirrored) && (
        <span className="jp-modelreg-Row-line jp-modelreg-Mirror">
          <label className="jp-modelreg-Note">
            <span>{trans.__('Copies to')}</span>
            <HTMLSelect
              value={mirrored}
              onChange={event => endpoint.setMirror(event.target.value, event.target.value ? percent || 10 : 0)}
            >
              <option value="">{trans.__('nobody')}</option>
              {[...new Set([...idle, mirrored])].filter(Boolean).map(name => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </HTMLSelect>
          </label>
          <span className="jp-modelreg-Space" />
          {mirrored && (
            <Percent
              label={trans.__('Copies of the traffic in percent')}
              max={MOST_MIRRORED}
              value={percent}
              onChange={value => endpoint.setMirror(mirrored, value)}
            />
          )}
        </span>
      )}
      <div className="jp-modelreg-Actions">
        <button
          type="submit"
          className="jp-modelreg-Button jp-mod-styled"
          disabled={isLess || sum > 100 || percent > MOST_MIRRORED || !endpoint.hasUnset}
        >
          {trans.__('Set traffic')}
        </button>
        <span className="jp-modelreg-Note" role="status">
          {isLess
            ? trans.__('No share is below 0')
            : sum > 100
              ? trans.__('%1 % in all: at most 100', sum)
              : trans.__('%1 % in all', sum)}
        </span>
      </div>
    </>
  );
}

/** What a deployment did since its instances started, in one line. */
function numbersText(numbers: IDeploymentNumbers | undefined, trans: TranslationBundle): string {
  if (!numbers?.instances && !numbers?.requests) {
    return '';
  }
  const {
    errors = 0,
    memory_bytes: memory,
    p50_ms: half,
    p95_ms: most,
    queue = 0,
    requests = 0,
    restarts = 0
  } = numbers;
  const rate = numbers.requests_per_second ?? 0;
  return [
    trans._n('%1 instance', '%1 instances', numbers.instances ?? 0),
    trans._n('%1 request', '%1 requests', requests),
    rate > 0 && trans.__('%1 a second', formatRate(rate)),
    errors && trans._n('%1 error', '%1 errors', errors),
    typeof half === 'number' &&
      trans.__('half within %1, 95 % within %2', formatMilliseconds(half), formatMilliseconds(most ?? 0)),
    queue > 0 && trans.__('%1 waiting', queue),
    restarts > 0 && trans._n('%1 restart', '%1 restarts', restarts),
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
            {formatMilliseconds(answer.milliseconds)}
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

/** A log counts as read to its end when no more than a line is missing. */
const SLACK_PIXELS = 16;

function Log({ trans, endpoint, row }: IPartProps): JSX.Element {
  const box = React.useRef<HTMLPreElement>(null);
  const isAtEnd = React.useRef(true);
  const { log, logOf } = endpoint;
  React.useEffect(() => {
    isAtEnd.current = true;
  }, [logOf]);
  React.useEffect(() => {
    if (isAtEnd.current) {
      box.current?.scrollTo(0, box.current.scrollHeight); // whoever reads further up is left there
    }
  }, [log, logOf]);
  const note = ({ currentTarget: pre }: React.UIEvent<HTMLPreElement>): void => {
    isAtEnd.current = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - SLACK_PIXELS;
  };
  return (
    <Fold
      title={trans.__('Log')}
      note={row.deployments.length > 1 ? logOf : undefined}
      isOpen={isDown(row) || (log !== null && row.deployments.length > 1)}
      onOpen={() => log === null && void endpoint.loadLog()}
    >
      <pre ref={box} role="log" aria-label={trans.__('Log')} tabIndex={0} onScroll={note}>
        {log || trans.__('Nothing was printed.')}
      </pre>
      <Button label={trans.__('Refresh log')} text={trans.__('Refresh log')} onClick={() => void endpoint.loadLog()} />
    </Fold>
  );
}

function Foot({ trans, endpoint, onDelete }: IPartProps): JSX.Element {
  return (
    <div className="jp-modelreg-Actions">
      <Button
        label={trans.__('Stop and delete')}
        text={trans.__('Stop and delete')}
        onClick={() => onDelete(endpoint.name)}
      />
    </div>
  );
}
