import type { Volume } from '../../engine/types.ts';
import { mapOf, nilMap } from './nil.ts';
import { goTime } from './time.ts';

/** A volume as `GET /volumes/{name}` has it. */
export function volumeDocument(volume: Volume): object {
  const labels = mapOf(volume.labels);
  const options = mapOf(volume.options);
  return {
    CreatedAt: goTime(Math.trunc(volume.createdAt / 1000) * 1000),
    Driver: volume.driver,
    Labels: labels.size === 0 ? nilMap : labels,
    Mountpoint: volume.mountpoint,
    Name: volume.name,
    Options: options.size === 0 ? nilMap : options,
    Scope: 'local',
  };
}
