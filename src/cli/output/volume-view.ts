import { mapOf } from '../../api/docker/nil.ts';
import type { Volume } from '../../engine/types.ts';
import { View } from '../template/values.ts';
import { labelsText } from './container-view.ts';

export const volumeTable = 'table {{.Driver}}\t{{.Name}}';

export const volumeHeaders: Readonly<Record<string, string>> = {
  Name: 'VOLUME NAME',
  Driver: 'DRIVER',
  Scope: 'SCOPE',
  Availability: 'AVAILABILITY',
  Mountpoint: 'MOUNTPOINT',
  Labels: 'LABELS',
  Links: 'LINKS',
  Size: 'SIZE',
  Group: 'GROUP',
  Status: 'STATUS',
};

/** A volume as `volume ls --format` sees it; what only `system df` knows is `N/A` without it. */
export function volumeView(
  volume: Volume,
  usage: { readonly links: string; readonly size: string } = { links: 'N/A', size: 'N/A' },
): View {
  return new View(
    '*formatter.volumeContext',
    {
      Availability: () => 'N/A',
      Driver: () => volume.driver,
      Group: () => 'N/A',
      Labels: () => labelsText(mapOf(volume.labels)),
      Links: () => usage.links,
      Mountpoint: () => volume.mountpoint,
      Name: () => volume.name,
      Scope: () => 'local',
      Size: () => usage.size,
      Status: () => 'N/A',
    },
    { Label: (name) => volume.labels[name] ?? '' },
  );
}
