/** Fields that are edited where they stand. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { addIcon, closeIcon, editIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { Button, Chip } from './parts';

export interface IEditableProps {
  trans: TranslationBundle;
  /** What it is, such as "Description". */
  label: string;
  /** The name of the button that starts editing. */
  editLabel: string;
  value: string;
  isLong?: boolean;
  /** Words to choose from, besides writing. */
  choices?: string[];
  onSave: (text: string) => void;
}

/** A text with a pencil. Enter saves (with Ctrl in long texts), Escape leaves it as it was. */
export function Editable(props: IEditableProps): JSX.Element {
  const [draft, setDraft] = React.useState<string | null>(null);
  return (
    <div className="jp-modelreg-Field">
      <div className="jp-modelreg-Field-label">
        <span>{props.label}</span>
        {draft === null && <Button icon={editIcon} label={props.editLabel} onClick={() => setDraft(props.value)} />}
      </div>
      {draft === null ? (
        <div className="jp-modelreg-Field-value">
          {props.value || <span className="jp-modelreg-Note">{props.trans.__('none')}</span>}
        </div>
      ) : (
        <Editor {...props} draft={draft} onDraft={setDraft} onDone={() => setDraft(null)} />
      )}
    </div>
  );
}

interface IEditorProps extends IEditableProps {
  draft: string;
  onDraft: (text: string) => void;
  onDone: () => void;
}

function Editor(props: IEditorProps): JSX.Element {
  const { draft, isLong, label, trans } = props;
  const list = React.useId();
  const save = () => {
    props.onDone();
    if (draft.trim() !== props.value) {
      props.onSave(draft.trim());
    }
  };
  const onKeyDown = (event: React.KeyboardEvent): void => {
    if (event.key === 'Escape') {
      event.stopPropagation();
      props.onDone();
    } else if (event.key === 'Enter' && (!isLong || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      save();
    }
  };
  const shared = {
    'aria-label': label,
    autoFocus: true,
    className: 'jp-mod-styled',
    value: draft,
    onKeyDown
  };
  return (
    <div>
      {isLong ? (
        <textarea {...shared} rows={4} onChange={event => props.onDraft(event.target.value)} />
      ) : (
        <input {...shared} list={list} onChange={event => props.onDraft(event.target.value)} />
      )}
      <datalist id={list}>
        {props.choices?.map(choice => (
          <option key={choice} value={choice} />
        ))}
      </datalist>
      <div className="jp-modelreg-Actions">
        <Button isAccent label={trans.__('Save')} text={trans.__('Save')} onClick={save} />
        <Button label={trans.__('Cancel')} text={trans.__('Cancel')} onClick={props.onDone} />
      </div>
    </div>
  );
}

export interface ITagsProps {
  trans: TranslationBundle;
  tags: { [key: string]: string };
  /** Add `key=value`, or change the value of a key. */
  onSet: (text: string) => void;
  onRemove: (key: string) => void;
}

/** Tags with a cross each, and a box for one more. */
export function Tags({ trans, tags, onSet, onRemove }: ITagsProps): JSX.Element {
  const [draft, setDraft] = React.useState('');
  const add = (event: React.FormEvent): void => {
    event.preventDefault();
    if (draft.trim()) {
      onSet(draft);
      setDraft('');
    }
  };
  return (
    <div className="jp-modelreg-Field">
      <div className="jp-modelreg-Field-label">{trans.__('Tags')}</div>
      <ul className="jp-modelreg-Tags" aria-label={trans.__('Tags')}>
        {Object.entries(tags).map(([key, value]) => (
          <li key={key}>
            <Chip text={value ? `${key}=${value}` : key} />
            <Button icon={closeIcon} label={trans.__('Remove tag %1', key)} onClick={() => onRemove(key)} />
          </li>
        ))}
      </ul>
      <form className="jp-modelreg-Tags-form" onSubmit={add}>
        <input
          className="jp-mod-styled"
          aria-label={trans.__('New tag')}
          placeholder={trans.__('key=value')}
          spellCheck={false}
          value={draft}
          onChange={event => setDraft(event.target.value)}
        />
        <button
          type="submit"
          className="jp-modelreg-Button jp-Button jp-mod-minimal"
          title={trans.__('Add tag')}
          aria-label={trans.__('Add tag')}
          disabled={!draft.trim()}
        >
          <addIcon.react tag="span" className="jp-modelreg-Icon" />
        </button>
      </form>
    </div>
  );
}
