/** One version of a model: what it is, where it came from, what can be done with it. */

import type { TranslationBundle } from '@jupyterlab/translation';
import {
  codeIcon,
  copyIcon,
  deleteIcon,
  launchIcon,
  notTrustedIcon,
  trustedIcon,
  undoIcon
} from '@jupyterlab/ui-components';
import * as React from 'react';

import { formatAge, formatNumber, formatSize } from '../format';
import { archiveIcon } from '../icons';
import type { IColumnSpec, IModel, IScan } from '../schema';
import type { VersionModel } from '../version';
import { ComparisonTable } from './comparison';
import { Editable, Tags } from './fields';
import { ModelRow } from './models';
import { Busy, Button, Chip, Facts, Failure, Fold, Heading, moveFocus, Table } from './parts';

/** The stages that are offered; any other word can be written. */
const STAGES = ['Development', 'Staging', 'Production'];
/** Verdicts of the scanner under which a model loads without a person's word. */
const LOADABLE = ['data-only', 'known-pickle'];

export interface IVersionActions {
  onDeploy: (model: IModel) => void;
  onInsertCode: (model: IModel) => void;
  onCopyReference: (model: IModel) => void;
  onArchive: (model: IModel) => void;
  onRestore: (model: IModel) => void;
  onDelete: (model: IModel) => void;
  onOpen: (model: IModel) => void;
  onOpenTab: (model: IModel) => void;
  onOpenEndpoint: (name: string) => void;
}

export interface IVersionProps extends IVersionActions {
  trans: TranslationBundle;
  version: VersionModel;
  onBack?: () => void;
}

interface IPartProps extends IVersionProps {
  model: IModel;
}

export function Version(props: IVersionProps): JSX.Element {
  const { trans, version } = props;
  const { model } = version;
  return (
    <div className="jp-modelreg-Page" role="region" aria-label={trans.__('Version')} aria-busy={version.isBusy}>
      <Heading
        title={version.name}
        suffix={version.version && `:${version.version}`}
        back={trans.__('Back to models')}
        onBack={props.onBack}
      >
        {model?.is_archived && <Chip text={trans.__('archived')} kind="warn" />}
      </Heading>
      {version.error && <Failure error={version.error} trans={trans} />}
      {!model && !version.error && <Busy label={trans.__('Loading …')} />}
      {model && <Actions {...props} model={model} />}
      {version.failure && <Failure error={version.failure} trans={trans} />}
      {model && <Parts {...props} model={model} />}
    </div>
  );
}

function Actions(props: IPartProps): JSX.Element {
  const { trans, model } = props;
  return (
    <div className="jp-modelreg-Actions" role="toolbar" aria-label={trans.__('Actions')}>
      <Button isAccent label={trans.__('Deploy')} text={trans.__('Deploy')} onClick={() => props.onDeploy(model)} />
      <span className="jp-modelreg-Space" />
      {props.onBack && (
        <Button icon={launchIcon} label={trans.__('Open in a tab')} onClick={() => props.onOpenTab(model)} />
      )}
      <Button icon={codeIcon} label={trans.__('Insert load code')} onClick={() => props.onInsertCode(model)} />
      <Button icon={copyIcon} label={trans.__('Copy reference')} onClick={() => props.onCopyReference(model)} />
      {model.is_archived ? (
        <Button icon={undoIcon} label={trans.__('Restore')} onClick={() => props.onRestore(model)} />
      ) : (
        <Button icon={archiveIcon} label={trans.__('Archive')} onClick={() => props.onArchive(model)} />
      )}
      <Button icon={deleteIcon} label={trans.__('Delete')} onClick={() => props.onDelete(model)} />
    </div>
  );
}

function Parts(props: IPartProps): JSX.Element {
  const { trans, version, model } = props;
  return (
    <div className="jp-modelreg-Columns">
      <div>
        <Verdict scan={model.scan} trans={trans} />
        <Deployed {...props} />
        <Editable
          isLong
          key={`description ${model.version}`}
          trans={trans}
          label={trans.__('Description')}
          editLabel={trans.__('Edit description')}
          value={model.description ?? ''}
          onSave={text => void version.setText('description', text)}
        />
        <Editable
          key={`stage ${model.version}`}
          trans={trans}
          label={trans.__('Stage')}
          editLabel={trans.__('Edit stage')}
          value={model.stage ?? ''}
          choices={STAGES}
          onSave={text => void version.setText('stage', text)}
        />
        <Tags
          trans={trans}
          tags={model.tags ?? {}}
          onSet={text => void version.setTag(text)}
          onRemove={key => void version.removeTag(key)}
        />
        <Overview {...props} />
      </div>
      <div>
        <Metrics {...props} />
        <Files {...props} />
        <SignatureFold {...props} />
        <LineageFold {...props} />
        <VersionsFold {...props} />
        <ComparisonFold {...props} />
      </div>
    </div>
  );
}

/** What the scanner said; a warning unless the files hold nothing but data. */
export function Verdict(props: { scan: IScan | undefined; trans: TranslationBundle }): JSX.Element {
  const { trans } = props;
  const verdict = props.scan?.verdict ?? 'not-inspected';
  const words: { [verdict: string]: string } = {
    'data-only': trans.__('Data only: loading it runs no code.'),
    'known-pickle': trans.__('A pickle that calls only on names known to be safe.'),
    'unknown-names': trans.__('Loading it calls on names that are not known to be safe.'),
    'not-inspected': trans.__('It could not be inspected to its end.'),
    blocked: trans.__('Loading it would run code that has no place in a model.')
  };
  const Icon = LOADABLE.includes(verdict) ? trustedIcon : notTrustedIcon;
  return (
    <div className={`jp-modelreg-Verdict jp-mod-${verdict}`} role="note" aria-label={trans.__('Scan result')}>
      <Icon.react tag="span" className="jp-modelreg-Icon" />
      <div>
        {words[verdict] ?? verdict}
        {props.scan?.findings?.map(finding => (
          <code key={finding} className="jp-modelreg-Finding">
            {finding}
          </code>
        ))}
      </div>
    </div>
  );
}

function Deployed({ trans, model, onOpenEndpoint }: IPartProps): JSX.Element | null {
  const names = [...new Set((model.endpoints ?? []).map(path => path.split('/')[0]))];
  if (!names.length) {
    return null;
  }
  return (
    <div className="jp-modelreg-Field">
      <div className="jp-modelreg-Field-label">{trans.__('Deployed at')}</div>
      <div className="jp-modelreg-Links">
        {names.map(name => (
          <button key={name} type="button" className="jp-modelreg-Link" onClick={() => onOpenEndpoint(name)}>
            {name}
          </button>
        ))}
      </div>
    </div>
  );
}

function Overview({ trans, model }: IPartProps): JSX.Element {
  const created = model.creation_context;
  const age = formatAge(created?.created_at);
  return (
    <Facts
      rows={[
        [trans.__('Type'), model.type],
        [trans.__('Flavor'), model.flavor],
        [trans.__('Size'), formatSize(model.size_bytes)],
        [
          trans.__('Created'),
          <span title={created?.created_at}>
            {created?.created_by ? trans.__('%1 by %2', age, created.created_by) : age}
          </span>
        ],
        [trans.__('Path'), model.path],
        [trans.__('Digest'), model.digest]
      ]}
    />
  );
}

function Metrics({ trans, model }: IPartProps): JSX.Element | null {
  const metrics = Object.entries(model.metrics ?? {});
  if (!metrics.length) {
    return null;
  }
  return (
    <Fold isOpen title={trans.__('Metrics')}>
      <Table
        hasNumbers
        trans={trans}
        heads={[trans.__('Metric'), trans.__('Value')]}
        rows={metrics.map(([name, value]) => [name, <span title={String(value)}>{formatNumber(value)}</span>])}
      />
    </Fold>
  );
}

function Files({ trans, model }: IPartProps): JSX.Element {
  const files = model.files ?? [];
  return (
    <Fold isOpen={files.length <= 10} title={trans.__('Files')} note={String(files.length)}>
      <Table
        hasNumbers
        trans={trans}
        heads={[trans.__('File'), trans.__('Size')]}
        rows={files.map(file => [file.path, formatSize(file.size_bytes)])}
      />
    </Fold>
  );
}

function SignatureFold({ trans, model }: IPartProps): JSX.Element | null {
  const { inputs = [], outputs = [] } = model.signature ?? {};
  if (!inputs.length && !outputs.length) {
    return null;
  }
  const sides: [string, IColumnSpec[]][] = [
    [trans.__('Input'), inputs],
    [trans.__('Output'), outputs]
  ];
  return (
    <Fold title={trans.__('Signature')} note={trans.__('%1 in, %2 out', inputs.length, outputs.length)}>
      {sides.map(([side, columns]) => (
        <Table
          key={side}
          trans={trans}
          heads={[side, trans.__('Type')]}
          rows={columns.map((column, index) => [column.name ?? String(index), typeOf(column)])}
        />
      ))}
    </Fold>
  );
}

function typeOf(column: IColumnSpec): string {
  return column.shape ? `${column.type} [${column.shape.join(', ')}]` : (column.type ?? '');
}

function LineageFold({ trans, model }: IPartProps): JSX.Element | null {
  const lineage = model.lineage;
  const packages = Object.entries(lineage?.packages ?? {});
  if (!lineage || !(lineage.code || lineage.notebook || lineage.python)) {
    return null;
  }
  const commit = lineage.git_commit?.slice(0, 10);
  return (
    <Fold title={trans.__('Lineage')} note={lineage.notebook}>
      <Facts
        rows={[
          [trans.__('Notebook'), lineage.notebook],
          [
            trans.__('Commit'),
            commit && lineage.git_is_dirty ? trans.__('%1, with uncommitted changes', commit) : commit
          ],
          [trans.__('Python'), lineage.python],
          [trans.__('Read'), lineage.inputs?.join(', ')]
        ]}
      />
      {packages.length > 0 && (
        <Fold title={trans.__('Packages')} note={String(packages.length)}>
          <Facts rows={packages} />
        </Fold>
      )}
      {lineage.code && (
        <Fold title={trans.__('Code')}>
          <pre tabIndex={0}>{lineage.code}</pre>
        </Fold>
      )}
    </Fold>
  );
}

function VersionsFold(props: IPartProps): JSX.Element | null {
  const { trans, version, model } = props;
  return (
    <Fold
      isOpen={version.versions.length > 1 && version.versions.length <= 5}
      title={trans.__('Versions')}
      note={version.hasMore ? trans.__('the newest %1', version.versions.length) : String(version.versions.length)}
    >
      <ul className="jp-modelreg-Rows" aria-label={trans.__('Versions')} onKeyDown={moveFocus}>
        {version.versions.map((item, index) => (
          <ModelRow
            key={item.version}
            trans={trans}
            model={item}
            title={trans.__('Version %1', item.version)}
            isFirst={index === 0}
            isCurrent={item.version === model.version}
            onOpen={props.onOpen}
          />
        ))}
      </ul>
    </Fold>
  );
}

function ComparisonFold({ trans, version }: IPartProps): JSX.Element | null {
  const { previous, comparison } = version;
  if (!previous) {
    return null;
  }
  return (
    <Fold title={trans.__('Compare with version %1', previous.version)} onOpen={() => void version.compare()}>
      {comparison ? (
        <ComparisonTable comparison={comparison} trans={trans} />
      ) : (
        <Busy label={trans.__('Comparing …')} />
      )}
    </Fold>
  );
}
