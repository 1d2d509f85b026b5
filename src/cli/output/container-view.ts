import type { ContainerSummary } from '../../api/docker/container-summary.ts';
import { portsText } from '../../api/docker/container-ports.ts';
import { quoteText } from '../template/print.ts';
import { View } from '../template/values.ts';
import { ellipsis } from './table.ts';
import { humanSize } from './units.ts';
import { ago, localTime } from './when.ts';

export const containerTable =
  'table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}';

export const containerHeaders: Readonly<Record<string, string>> = {
  ID: 'CONTAINER ID',
  Names: 'NAMES',
  Image: 'IMAGE',
  Command: 'COMMAND',
  CreatedAt: 'CREATED AT',
  RunningFor: 'CREATED',
  Ports: 'PORTS',
  State: 'STATE',
  Status: 'STATUS',
  Size: 'SIZE',
  Labels: 'LABELS',
  Mounts: 'MOUNTS',
  LocalVolumes: 'LOCAL VOLUMES',
  Networks: 'NETWORKS',
  Platform: 'PLATFORM',
};

/** The first 12 digits of an id, without `sha256:`. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, '').slice(0, 12);
}

function sizeText(summary: ContainerSummary): string {
  const own = humanSize(summary.SizeRw ?? 0, 3);
  return summary.SizeRootFs === undefined || summary.SizeRootFs === 0
    ? own
    : `${own} (virtual ${humanSize(summary.SizeRootFs, 3)})`;
}

/** A label's list: `a=b,c=d` in the order of names. */
export function labelsText(labels: ReadonlyMap<string, string>): string {
  return [...labels]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join(',');
}

/** A container as `ps --format` sees it. */
export function containerView(summary: ContainerSummary, truncate: boolean): View {
  const names = summary.Names.map((name) => name.replace(/^\//, ''));
  return new View(
    '*formatter.ContainerContext',
    {
      Command: () => quoteText(truncate ? ellipsis(summary.Command, 20) : summary.Command),
      CreatedAt: () => localTime(summary.Created * 1000),
      ID: () => (truncate ? shortId(summary.Id) : summary.Id),
      Image: () => (summary.Image === '' ? '<no image>' : imageText(summary, truncate)),
      Labels: () => labelsText(summary.Labels),
      LocalVolumes: () => String(summary.Mounts.filter((mount) => mount.Driver === 'local').length),
      Mounts: () =>
        summary.Mounts.map((mount) => mount.Name ?? mount.Source)
          .map((name) => (truncate ? ellipsis(name, 15) : name))
          .join(','),
      Names: () => names.join(','),
      Networks: () => [...summary.NetworkSettings.Networks.keys()].join(','),
      Platform: () => null,
      Ports: () => portsText(summary.Ports),
      RunningFor: () => ago(summary.Created * 1000),
      Size: () => sizeText(summary),
      State: () => summary.State,
      Status: () => summary.Status,
    },
    { Label: (name) => summary.Labels.get(name) ?? '' },
  );
}

/** The image as the user named it; an id or digest is cut unless it shall not be. */
function imageText(summary: ContainerSummary, truncate: boolean): string {
  if (!truncate) return summary.Image;
  if (/^(sha256:)?[0-9a-f]{64}$/.test(summary.Image)) return shortId(summary.Image);
  return summary.Image.replace(/@sha256:[0-9a-f]{64}$/, '');
}
