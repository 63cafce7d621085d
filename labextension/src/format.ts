/** How things are written: pure functions from records to text. */

import { Time } from '@jupyterlab/coreutils';

import type { IModel, IOnlineDeployment, ISignature } from './schema';

/** A name and a version, as a deployment names its model. */
export interface IReference {
  name: string;
  version: string;
}

const SIZE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Write a size as the other doors do: 1,000 bytes are a kB. */
export function formatSize(bytes: number | undefined): string {
  if (bytes === undefined) {
    return '';
  }
  let value = bytes;
  let unit = 0;
  while (value >= 999.95 && unit < SIZE_UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${SIZE_UNITS[unit]}`;
}

/** Write a time so that it has two digits that count, or three: 0.31 ms, 4.2 ms, 120 ms, 1.2 s. */
export function formatMilliseconds(value: number): string {
  if (value >= 999.5) {
    return `${(value / 1000).toFixed(value >= 9950 ? 0 : 1)} s`;
  }
  return `${value.toFixed(value >= 9.95 ? 0 : value >= 0.995 ? 1 : 2)} ms`;
}

/** Write how often in a second: 18,500, 120, 4.2, 0.31. */
export function formatRate(value: number): string {
  return value >= 9.95
    ? Math.round(value).toLocaleString('en-US')
    : String(Number(value.toFixed(value >= 0.995 ? 1 : 2)));
}

/** A line for a shell that sends a request to an endpoint. */
export function curlOf(url: string, key: string, body: string): string {
  const quoted = `'${body.replace(/'/g, `'\\''`)}'`;
  return `curl -s -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json' --data ${quoted} ${url}`;
}

/** Write how long ago something was, in the page's language. */
export function formatAge(time: string | undefined): string {
  return time ? Time.formatHuman(time, 'short') : '';
}

/** Write a metric with at most four digits that count; one that is no number, which JSON has as null, as a dash. */
export function formatNumber(value: number | null): string {
  if (value === null) {
    return '–';
  }
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

/** The text by which other doors name a version. */
export function reference(model: IReference): string {
  return `azureml:${model.name}:${model.version}`;
}

/** The cell that loads a version. */
export function loadCode(model: IReference): string {
  return `model = %model_load ${model.name}:${model.version}`;
}

/** The name and version of a registered model. */
export function referenceOf(model: IModel): IReference {
  return { name: model.name ?? '', version: model.version ?? '' };
}

/** Read `azureml:churn:3`; undefined when a deployment names no registered version. */
export function modelOf(deployment: IOnlineDeployment): IReference | undefined {
  const text = typeof deployment.model === 'string' ? deployment.model : '';
  const found = /^azureml:([^:@]+):([^:@]+)$/.exec(text);
  return found ? { name: found[1], version: found[2] } : undefined;
}

/** Suggest an endpoint's name: 3 to 32 letters, digits and dashes, a letter first, no dash at the end. */
export function endpointNameFor(modelName: string): string {
  const plain = modelName.toLowerCase().replace(/[^a-z0-9]/g, '-');
  const name = (/^[a-z]/.test(plain) ? plain : `m-${plain}`).replace(/^-+/, '').slice(0, 32).replace(/-+$/, '');
  return name.length < 3 ? `${name}-model` : name;
}

/** Suggest a model's name: the file's, without its ending. */
export function modelNameFor(path: string): string {
  const base =
    path
      .replace(/[\\/]+$/, '')
      .split(/[\\/]/)
      .pop() ?? '';
  const stem = /.\../.test(base) ? base.replace(/\.[^.]*$/, '') : base;
  return stem.replace(/[^\w.-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '');
}

/** Read `stage=dev, team=risk`; a word without `=` is a tag without a value. */
export function parseTags(text: string): { [key: string]: string } {
  const words = text
    .split(',')
    .map(word => word.trim())
    .filter(Boolean);
  return Object.fromEntries(words.map(parseTag));
}

/** Read one `key=value`. */
export function parseTag(word: string): [string, string] {
  const [key, ...rest] = word.split('=');
  return [key.trim(), rest.join('=').trim()];
}

/** The request to start from: the model's own example, else one row of zeros that fits its signature. */
export function requestBody(model: IModel | undefined): string {
  const example = model?.input_example ?? zeroRow(model?.signature);
  return formatJson({ input_data: example ?? [[]] });
}

/** Write JSON for reading: what fits a line stays on one, and so do rows of plain values. */
export function formatJson(value: unknown, indent = ''): string {
  const line = JSON.stringify(value);
  const isRow = Array.isArray(value) && value.every(item => item === null || typeof item !== 'object');
  if (value === null || typeof value !== 'object' || isRow) {
    return line;
  }
  if (indent.length + line.length <= 60) {
    return line;
  }
  const inner = `${indent}  `;
  const parts = Array.isArray(value)
    ? value.map(item => formatJson(item, inner))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${formatJson(item, inner)}`);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return `${open}\n${parts.map(part => inner + part).join(',\n')}\n${indent}${close}`;
}

const ZEROS: { [type: string]: unknown } = {
  string: '',
  boolean: false,
  datetime: '2000-01-01T00:00:00'
};

function zeroRow(signature: ISignature | undefined): unknown {
  const inputs = signature?.inputs ?? [];
  const [first] = inputs;
  if (!first) {
    return undefined;
  }
  if (first.shape) {
    return zeros(first.shape);
  }
  const data = [inputs.map(column => ZEROS[column.type ?? ''] ?? 0)];
  return inputs.every(column => column.name) ? { columns: inputs.map(column => column.name), data } : data;
}

function zeros([length, ...rest]: number[]): unknown {
  const item = rest.length ? zeros(rest) : 0;
  return Array.from({ length: Math.max(1, Math.min(length, 1000)) }, () => item);
}
