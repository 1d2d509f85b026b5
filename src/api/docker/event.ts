import type { EngineEvent } from '../../engine/types.ts';
import { mapOf } from './nil.ts';

/** An event as `GET /events` has it. The first three fields are of old, and only there for containers and images. */
export function eventDocument(event: EngineEvent): object {
  const { type, action, id, attributes, timeNano } = event;
  const old = type === 'container' || type === 'image';
  const from = attributes['image'];
  return {
    ...(old && { status: action, id }),
    ...(type === 'container' && from !== undefined && { from }),
    Type: type,
    Action: action,
    Actor: { ID: id, Attributes: mapOf(attributes) },
    scope: 'local',
    time: Number(timeNano / 1_000_000_000n),
    timeNano,
  };
}
