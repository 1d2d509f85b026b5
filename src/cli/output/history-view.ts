import { goTime } from '../../api/docker/time.ts';
import type { HistoryLine } from '../../image/image-details.ts';
import { View } from '../template/values.ts';
import { shortId } from './container-view.ts';
import { ellipsis } from './table.ts';
import { humanSize } from './units.ts';
import { ago } from './when.ts';

export function historyTable(human: boolean): string {
  return `table {{.ID}}\t{{.${human ? 'CreatedSince' : 'CreatedAt'}}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}`;
}

export const historyHeaders: Readonly<Record<string, string>> = {
  ID: 'IMAGE',
  CreatedSince: 'CREATED',
  CreatedAt: 'CREATED AT',
  CreatedBy: 'CREATED BY',
  Size: 'SIZE',
  Comment: 'COMMENT',
};

/** A step of an image's history as `history --format` sees it. */
export function historyView(line: HistoryLine, options: { readonly truncate: boolean; readonly human: boolean }): View {
  const { truncate, human } = options;
  return new View('*formatter.historyContext', {
    Comment: () => line.comment,
    CreatedAt: () => goTime(line.createdAt),
    CreatedBy: () => {
      const text = line.createdBy.replaceAll('\t', ' ');
      return truncate ? ellipsis(text, 45) : text;
    },
    CreatedSince: () => (line.createdAt === 0 ? 'N/A' : human ? ago(line.createdAt) : goTime(line.createdAt)),
    ID: () => (line.id === undefined ? '<missing>' : truncate ? shortId(line.id) : line.id),
    Size: () => (human ? humanSize(line.size, 3) : String(line.size)),
  });
}
