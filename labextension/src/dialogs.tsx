/** The questions that are asked before something is done. */

import { Dialog, ReactWidget, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { CallError, Command } from './call';
import { IReference, modelNameFor, parseTags } from './format';
import type { IEndpointRow } from './model';
import { freeName, IDeployForm, NEW, rowOf, toPlace } from './place';
import type { IModel } from './schema';
import { servedBy } from './views/endpoints';
import { Failure } from './views/parts';
import { Verdict } from './views/version';

/** A form in a dialog; its value is what stands in its fields. */
class FormBody<T> extends ReactWidget {
  constructor(
    private _value: T,
    private readonly _render: (value: T, onChange: (value: T) => void) => JSX.Element
  ) {
    super();
    this.addClass('jp-modelreg-Form');
  }

  getValue(): T {
    return this._value;
  }

  protected override render(): JSX.Element {
    return this._render(this._value, value => {
      this._value = value;
      this.update();
    });
  }
}

const CLASS_EXAMPLE = 'nets:Net(4, hidden=8)';

interface IPlaceQuestion {
  model: IReference;
  flavor: string | undefined;
  endpoints: IEndpointRow[];
  error: CallError | null;
}

/** Ask where to deploy to, and how; null when the person turns away. After a failure the form comes back with what was written. */
export async function askForPlace(
  trans: TranslationBundle,
  { model, flavor, endpoints, error }: IPlaceQuestion,
  form: IDeployForm
): Promise<IDeployForm | null> {
  const body = new FormBody(form, (value, onChange) => (
    <>
      {error && <Failure error={error} trans={trans} />}
      <DeployForm trans={trans} form={value} flavor={flavor} row={rowOf(value, endpoints)} onChange={onChange} />
    </>
  ));
  const result = await showDialog({
    title: trans.__('Deploy %1:%2', model.name, model.version),
    body,
    buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: trans.__('Deploy') })],
    focusNodeSelector: 'input'
  });
  return result.button.accept ? result.value : null;
}

const MODEL_TYPES = ['custom_model', 'mlflow_model', 'triton_model'];

/** What the register form holds. */
export interface IRegistration {
  name: string;
  path: string;
  type: string;
  description: string;
  tags: string;
}

type ModelType = Command<'model create'>['type'];

export function registrationOf(path: string): IRegistration {
  return { name: modelNameFor(path), path, type: '', description: '', tags: '' };
}

/** Turn what the form holds into a command. */
export function toCreateModel(form: IRegistration): Command<'model create'> {
  return {
    name: form.name.trim(),
    path: form.path.trim(),
    type: (form.type || undefined) as ModelType,
    description: form.description.trim() || undefined,
    tags: parseTags(form.tags)
  };
}

/** Ask what to register; null when the person turns away. After a failure the form comes back with what was written. */
export async function askForModel(
  trans: TranslationBundle,
  form: IRegistration,
  error: CallError | null
): Promise<IRegistration | null> {
  const body = new FormBody(form, (value, onChange) => (
    <RegisterForm trans={trans} form={value} error={error} onChange={onChange} />
  ));
  const buttons = [
    Dialog.cancelButton({ label: trans.__('Cancel') }),
    Dialog.okButton({ label: trans.__('Register') })
  ];
  const result = await showDialog({
    title: trans.__('Register model'),
    body,
    buttons,
    focusNodeSelector: 'input'
  });
  return result.button.accept ? result.value : null;
}

/** Say why a version is not loaded, and ask whether its maker is trusted. */
export async function askForTrust(trans: TranslationBundle, model: IModel): Promise<boolean> {
  const result = await showDialog({
    title: trans.__('%1:%2 can run code', model.name, model.version),
    body: (
      <div className="jp-modelreg-Form">
        <Verdict scan={model.scan} trans={trans} />
        <p>{trans.__('Deploy it only if you trust whoever made its files.')}</p>
      </div>
    ),
    defaultButton: 0,
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.warnButton({ label: trans.__('Trust and deploy') })
    ]
  });
  return result.button.accept;
}

/** Ask before something is gone. */
export async function confirm(trans: TranslationBundle, title: string, body: string, action: string): Promise<boolean> {
  const result = await showDialog({
    title,
    body,
    defaultButton: 0,
    buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.warnButton({ label: action })]
  });
  return result.button.accept;
}

/** Say that something failed, with the one line and its details. */
export async function showFailure(trans: TranslationBundle, title: string, error: CallError): Promise<void> {
  await showDialog({
    title,
    body: (
      <div className="jp-modelreg-Form">
        <Failure error={error} trans={trans} />
      </div>
    ),
    buttons: [Dialog.okButton({ label: trans.__('Close') })]
  });
}

interface IDeployFormProps {
  trans: TranslationBundle;
  form: IDeployForm;
  flavor: string | undefined;
  row: IEndpointRow | undefined;
  onChange: (form: IDeployForm) => void;
}

function DeployForm({ trans, form, flavor, row, onChange }: IDeployFormProps): JSX.Element {
  const change = (part: Partial<IDeployForm>): void => onChange({ ...form, ...part });
  return (
    <>
      <TextField
        label={trans.__('Endpoint name')}
        value={form.endpoint}
        onChange={endpoint => change({ endpoint, deployment: '' })}
      />
      {row && <Beside trans={trans} form={form} row={row} onChange={change} />}
      {flavor === 'torch' && (
        <TextField
          label={trans.__('Class whose parameters the model holds')}
          placeholder={CLASS_EXAMPLE}
          value={form.modelClass}
          onChange={modelClass => change({ modelClass })}
        />
      )}
      {flavor === 'sklearn' && (
        <label className="jp-modelreg-Form-check">
          <input
            type="checkbox"
            checked={form.isAccelerated}
            onChange={event => change({ isAccelerated: event.target.checked })}
          />
          <span>{trans.__('Answer by ONNX, if that answers the same: faster, in less memory')}</span>
        </label>
      )}
      <p>{placeHint(trans, form, row)}</p>
    </>
  );
}

/** For an endpoint that is there: in whose place, or beside them all. */
function Beside(props: {
  trans: TranslationBundle;
  form: IDeployForm;
  row: IEndpointRow;
  onChange: (part: Partial<IDeployForm>) => void;
}): JSX.Element {
  const { trans, form, row, onChange } = props;
  const isBeside = form.deployment === NEW;
  return (
    <>
      <label className="jp-modelreg-Form-field">
        <span>{trans.__('Deployment')}</span>
        <HTMLSelect
          value={form.deployment || row.deployment?.name}
          onChange={event => onChange({ deployment: event.target.value })}
        >
          {row.deployments.map(({ name = '' }) => (
            <option key={name} value={name}>
              {trans.__('In place of %1 (%2 %)', name, row.endpoint.traffic?.[name] ?? 0)}
            </option>
          ))}
          <option value={NEW}>{trans.__('Beside the others')}</option>
        </HTMLSelect>
      </label>
      {isBeside && (
        <TextField
          label={trans.__('Its name')}
          value={form.newName ?? freeName(row)}
          onChange={newName => onChange({ newName })}
        />
      )}
      {isBeside && (
        <label className="jp-modelreg-Form-field">
          <span>{trans.__('Its share of the traffic in percent')}</span>
          <input
            type="number"
            className="jp-mod-styled"
            min={0}
            max={100}
            value={form.traffic}
            onChange={event => onChange({ traffic: event.target.valueAsNumber || 0 })}
          />
        </label>
      )}
    </>
  );
}

function placeHint(trans: TranslationBundle, form: IDeployForm, row?: IEndpointRow): string {
  if (!row) {
    return trans.__('A new endpoint: a process on this machine that goes on when JupyterLab stops.');
  }
  const { deployment_name: name } = toPlace(form, row);
  if (form.deployment === NEW && row.deployments.some(deployment => deployment.name === name)) {
    return trans.__('There is a deployment %1: the new model would take its place.', name);
  }
  return form.deployment === NEW
    ? trans.__('The others keep their traffic in proportion. It can be asked by name at once.')
    : trans.__('This endpoint exists. It goes on answering with %1 until the new model is ready.', servedBy(row));
}

interface IFieldProps {
  label: string;
  value: string;
  placeholder?: string;
  onChange: (value: string) => void;
}

function TextField(props: IFieldProps): JSX.Element {
  return (
    <label className="jp-modelreg-Form-field">
      <span>{props.label}</span>
      <input
        type="text"
        className="jp-mod-styled"
        spellCheck={false}
        placeholder={props.placeholder}
        value={props.value}
        onChange={event => props.onChange(event.target.value)}
      />
    </label>
  );
}

interface IRegisterFormProps {
  trans: TranslationBundle;
  form: IRegistration;
  error: CallError | null;
  onChange: (form: IRegistration) => void;
}

function RegisterForm(props: IRegisterFormProps): JSX.Element {
  const { trans, form, error, onChange } = props;
  return (
    <>
      {error && <Failure error={error} trans={trans} />}
      <TextField label={trans.__('Name')} value={form.name} onChange={name => onChange({ ...form, name })} />
      <TextField
        label={trans.__('Path')}
        placeholder={trans.__('A file, a folder, or a reference such as runs:/ID/model')}
        value={form.path}
        onChange={path => onChange({ ...form, path })}
      />
      <label className="jp-modelreg-Form-field">
        <span>{trans.__('Type')}</span>
        <HTMLSelect value={form.type} onChange={event => onChange({ ...form, type: event.target.value })}>
          <option value="">{trans.__('found out from the files')}</option>
          {MODEL_TYPES.map(type => (
            <option key={type} value={type}>
              {type}
            </option>
          ))}
        </HTMLSelect>
      </label>
      <TextField
        label={trans.__('Description')}
        value={form.description}
        onChange={description => onChange({ ...form, description })}
      />
      <TextField
        label={trans.__('Tags')}
        placeholder={trans.__('stage=dev, team=risk')}
        value={form.tags}
        onChange={tags => onChange({ ...form, tags })}
      />
    </>
  );
}
