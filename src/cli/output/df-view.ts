import { containerSummary } from '../../api/docker/container-summary.ts';
import type { DiskUsage } from '../disk-usage.ts';
import { View } from '../template/values.ts';
import { containerHeaders, containerView } from './container-view.ts';
import { imageHeaders, imageRows, imageView } from './image-view.ts';
import { renderList } from './list-view.ts';
import { humanSize } from './units.ts';
import { volumeHeaders, volumeView } from './volume-view.ts';

export const dfTable = 'table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}';

export const dfHeaders: Readonly<Record<string, string>> = {
  Type: 'TYPE',
  TotalCount: 'TOTAL',
  Active: 'ACTIVE',
  Size: 'SIZE',
  Reclaimable: 'RECLAIMABLE',
};

function view(type: string, total: number, active: number, size: number, reclaimable: number): View {
  const share = size > 0 ? ` (${Math.trunc((reclaimable * 100) / size)}%)` : '';
  return new View('*formatter.diskUsageContext', {
    Active: () => String(active),
    Reclaimable: () => humanSize(reclaimable) + share,
    Size: () => humanSize(size),
    TotalCount: () => String(total),
    Type: () => type,
  });
}

const sum = <T>(items: readonly T[], size: (item: T) => number): number =>
  items.reduce((all, item) => all + size(item), 0);

/** The four lines of `system df`. */
export function dfViews(usage: DiskUsage): View[] {
  const { images, containers, volumes, layers } = usage;
  const usedImages = images.filter((image) => image.containers > 0);
  // Layers that images share are counted once, and go only with the last of them.
  const usedLayers = Math.min(
    layers,
    sum(usedImages, ({ size }) => size),
  );
  const running = containers.filter(({ state }) => ['running', 'paused', 'restarting'].includes(state.state));
  const stopped = containers.filter((container) => !running.includes(container));
  const usedVolumes = volumes.filter(({ links }) => links > 0);
  const volumeSize = sum(volumes, ({ size }) => size);
  return [
    view('Images', images.length, usedImages.length, layers, layers - usedLayers),
    view(
      'Containers',
      containers.length,
      running.length,
      sum(containers, ({ sizeRw = 0 }) => sizeRw),
      sum(stopped, ({ sizeRw = 0 }) => sizeRw),
    ),
    view(
      'Local Volumes',
      volumes.length,
      usedVolumes.length,
      volumeSize,
      volumeSize - sum(usedVolumes, ({ size }) => size),
    ),
    view('Build Cache', 0, 0, 0, 0),
  ];
}

/** `system df -v`: every image, container and volume. */
export function verboseDf(usage: DiskUsage): string {
  const images = usage.images.flatMap((image) =>
    imageRows(image, false).map((row) =>
      imageView(row, true, { containers: String(image.containers), shared: 'N/A', unique: 'N/A' }),
    ),
  );
  const containers = usage.containers.map((container) => containerView(containerSummary(container), true));
  const volumes = usage.volumes.map((volume) =>
    volumeView(volume, { links: String(volume.links), size: humanSize(volume.size, 3) }),
  );
  const section = (
    title: string,
    rows: readonly View[],
    table: string,
    headers: Readonly<Record<string, string>>,
  ): string => `${title}\n\n${renderList(rows, { format: '', table, headers })}\n`;
  return (
    section(
      'Images space usage:',
      images,
      'table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.Containers}}',
      imageHeaders,
    ) +
    section(
      'Containers space usage:',
      containers,
      'table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}',
      containerHeaders,
    ) +
    section('Local Volumes space usage:', volumes, 'table {{.Name}}\t{{.Links}}\t{{.Size}}', volumeHeaders)
  );
}
