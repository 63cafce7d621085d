/** Two versions side by side, only what differs. */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { formatNumber } from '../format';
import type { IComparison, IDifference } from '../schema';

const SHOWN_DIGITS = 12;

export interface IComparisonProps {
  trans: TranslationBundle;
  comparison: IComparison;
}

export function ComparisonTable(props: IComparisonProps): JSX.Element {
  const { trans, comparison } = props;
  const differences = comparison.differences ?? [];
  if (!differences.length) {
    return <p>{trans.__('They are the same.')}</p>;
  }
  return (
    <table className="jp-modelreg-Table jp-mod-comparison">
      <thead>
        <tr>
          <th>{trans.__('What')}</th>
          <th>{versionOf(comparison.first)}</th>
          <th>{versionOf(comparison.second)}</th>
        </tr>
      </thead>
      <tbody>
        {differences.map(item => (
          <tr key={`${item.group} ${item.name}`}>
            <td title={`${item.group}: ${item.name}`}>{item.name}</td>
            <td title={item.first}>{shorten(item, item.first)}</td>
            <td title={item.second}>
              {shorten(item, item.second)} <Delta delta={item.delta} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Delta({ delta }: { delta?: number }): JSX.Element | null {
  if (!delta) {
    return null;
  }
  return (
    <span className="jp-modelreg-Note">
      {delta > 0 ? '+' : ''}
      {formatNumber(delta)}
    </span>
  );
}

/** Digests are shown by their beginning. */
function shorten(item: IDifference, text: string | undefined): string {
  if (text === undefined) {
    return '–';
  }
  return item.group === 'files' ? text.slice(0, SHOWN_DIGITS) : text;
}

function versionOf(reference: string): string {
  return reference.slice(reference.lastIndexOf(':') + 1);
}
