/** Drag a version into a notebook, where it becomes a cell that loads it, or into an editor, as text. */

import { MimeData } from '@lumino/coreutils';
import { Drag } from '@lumino/dragdrop';

const CELLS = 'application/vnd.jupyter.cells';
const THRESHOLD_PX = 5;

/** Follow a pointer that went down; a drag begins once it has moved far enough. */
export function followDrag(down: MouseEvent, code: string): void {
  if (down.button !== 0) {
    return;
  }
  const ending = new AbortController();
  const { signal } = ending;
  const onMove = (move: MouseEvent): void => {
    const isFar =
      Math.abs(move.clientX - down.clientX) > THRESHOLD_PX || Math.abs(move.clientY - down.clientY) > THRESHOLD_PX;
    if (isFar) {
      ending.abort();
      void startDrag(move, code);
    }
  };
  document.addEventListener('mousemove', onMove, { signal });
  document.addEventListener('mouseup', () => ending.abort(), { signal });
}

async function startDrag(event: MouseEvent, code: string): Promise<void> {
  const mimeData = new MimeData();
  const metadata = { trusted: true };
  const cell = { cell_type: 'code', source: code, metadata, outputs: [] };
  mimeData.setData(CELLS, [cell]);
  mimeData.setData('text/plain', code);
  const drag = new Drag({
    dragImage: imageOf(code),
    mimeData,
    proposedAction: 'copy',
    supportedActions: 'copy'
  });
  await drag.start(event.clientX, event.clientY);
  drag.dispose();
}

function imageOf(code: string): HTMLElement {
  const image = document.createElement('code');
  image.className = 'jp-modelreg-DragImage';
  image.textContent = code;
  return image;
}
