/** Small pieces that every view is made of. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { CallError } from '../call';

export interface IButtonProps {
  /** The accessible name, also shown when the pointer rests. */
  label: string;
  onClick: () => void;
  icon?: LabIcon;
  /** Words that are always shown; without them the button is its icon. */
  text?: string;
  isAccent?: boolean;
  isDisabled?: boolean;
  isPressed?: boolean;
}

/** A button that looks like JupyterLab's. */
export function Button(props: IButtonProps): JSX.Element {
  const look = props.isAccent
    ? 'jp-mod-styled jp-mod-accept'
    : `jp-Button jp-mod-minimal${props.text ? ' jp-modelreg-mod-text' : ''}`;
  return (
    <button
      type="button"
      className={`jp-modelreg-Button ${look}`}
      title={props.label}
      aria-label={props.text ? undefined : props.label}
      aria-pressed={props.isPressed}
      disabled={props.isDisabled}
      onClick={props.onClick}
    >
      {props.icon && <props.icon.react tag="span" className="jp-modelreg-Icon" />}
      {props.text}
    </button>
  );
}

export interface IFailureProps {
  error: CallError;
  trans: TranslationBundle;
}

/** What went wrong in one line; what explains it, such as a traceback, folded. */
export function Failure({ error, trans }: IFailureProps): JSX.Element {
  return (
    <div className="jp-modelreg-Failure" role="alert">
      <div>{describe(error, trans)}</div>
      {error.detail && (
        <details>
          <summary>{trans.__('Details')}</summary>
          <pre tabIndex={0}>{error.detail}</pre>
        </details>
      )}
    </div>
  );
}

/** The one line of an error; the server's own words where it has any. */
export function describe(error: CallError, trans: TranslationBundle): string {
  return error.error === 'NoAnswer' ? trans.__('The Jupyter server does not answer.') : error.message;
}

export interface IFoldProps {
  title: string;
  children: React.ReactNode;
  /** Shown beside the title. */
  note?: string;
  isOpen?: boolean;
  onOpen?: () => void;
}

/** A part of a page that can be folded away. */
export function Fold(props: IFoldProps): JSX.Element {
  return (
    <details
      className="jp-modelreg-Fold"
      open={props.isOpen}
      onToggle={event => event.currentTarget.open && props.onOpen?.()}
    >
      <summary>
        <span>{props.title}</span>
        {props.note && <span className="jp-modelreg-Note">{props.note}</span>}
      </summary>
      <div className="jp-modelreg-Fold-content">{props.children}</div>
    </details>
  );
}

export interface IFactsProps {
  /** Label and value; rows without a value are left out. */
  rows: [string, React.ReactNode][];
}

/** Labels and values in two columns. */
export function Facts({ rows }: IFactsProps): JSX.Element {
  return (
    <dl className="jp-modelreg-Facts">
      {rows
        .filter(([, value]) => value)
        .map(([label, value]) => (
          <React.Fragment key={label}>
            <dt>{label}</dt>
            <dd title={typeof value === 'string' ? value : undefined}>{value}</dd>
          </React.Fragment>
        ))}
    </dl>
  );
}

/** So many rows of a table are shown. */
const SHOWN_ROWS = 200;

export interface ITableProps {
  trans: TranslationBundle;
  heads: string[];
  rows: React.ReactNode[][];
  /** Whether the last column holds numbers. */
  hasNumbers?: boolean;
}

/** Facts in columns; of very many only the first. */
export function Table({ trans, heads, rows, hasNumbers }: ITableProps): JSX.Element {
  const kind = (column: number): string | undefined =>
    hasNumbers && column === heads.length - 1 ? 'jp-mod-number' : undefined;
  const rest = rows.length - SHOWN_ROWS;
  return (
    <>
      <table className="jp-modelreg-Table">
        <thead>
          <tr>
            {heads.map((head, column) => (
              <th key={column} className={kind(column)}>
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, SHOWN_ROWS).map((cells, row) => (
            <tr key={row}>
              {cells.map((cell, column) => (
                <td key={column} className={kind(column)} title={typeof cell === 'string' ? cell : undefined}>
                  {cell}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {rest > 0 && <p className="jp-modelreg-Note">{trans.__('and %1 more', rest)}</p>}
    </>
  );
}

export interface IChipProps {
  text: string;
  kind?: 'stage' | 'quiet' | 'warn';
}

/** A word in a rounded box. */
export function Chip({ text, kind = 'quiet' }: IChipProps): JSX.Element {
  return (
    <span className={`jp-modelreg-Chip jp-mod-${kind}`} title={text}>
      {text}
    </span>
  );
}

/** Says that something is under way. */
export function Busy({ label }: { label: string }): JSX.Element {
  return (
    <div className="jp-modelreg-Busy" role="status">
      <span className="jp-modelreg-Spinner" />
      {label}
    </div>
  );
}

export interface IHeadingProps {
  /** Where the button leads back to. */
  back: string;
  title: string;
  /** The end of the title, which is never cut off. */
  suffix?: string;
  onBack?: () => void;
  children?: React.ReactNode;
}

/** The top of a page in the panel: the way back, what it is about, and what can be said of it in a word. */
export function Heading(props: IHeadingProps): JSX.Element {
  const button = React.useRef<HTMLButtonElement>(null);
  const title = props.title + (props.suffix ?? '');
  React.useEffect(() => takeLostFocus(button.current), []);
  return (
    <div className="jp-modelreg-Heading">
      {props.onBack && (
        <button
          ref={button}
          type="button"
          className="jp-modelreg-Button jp-Button jp-mod-minimal"
          title={props.back}
          aria-label={props.back}
          onClick={props.onBack}
        >
          <span aria-hidden="true">‹</span>
        </button>
      )}
      <h2 title={title} aria-label={title}>
        <span>{props.title}</span>
        {props.suffix}
      </h2>
      {props.children}
    </div>
  );
}

/** Focus an element if what had the focus is gone; who types elsewhere is not disturbed. */
export function takeLostFocus(element: HTMLElement | null): void {
  if (document.activeElement === document.body) {
    element?.focus({ preventScroll: true });
  }
}

/** Move the focus among the rows of a list with the arrow keys, Home and End. */
export function moveFocus(event: React.KeyboardEvent<HTMLElement>): void {
  const rows = [...event.currentTarget.querySelectorAll<HTMLElement>('.jp-modelreg-Row-open')];
  const index = rows.findIndex(row => row === document.activeElement);
  const target = {
    ArrowDown: index + 1,
    ArrowUp: index - 1,
    Home: 0,
    End: rows.length - 1
  }[event.key];
  if (index >= 0 && target !== undefined && rows[target]) {
    event.preventDefault();
    rows[target].focus();
  }
}
