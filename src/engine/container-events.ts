import type { Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';

/** Records an event of a container with docker's attributes: image, name, its labels, and what the action adds. */
export function containerEvent(
  parts: Pick<Parts, 'events'>,
  record: Pick<ContainerRecord, 'id' | 'name' | 'spec'>,
  action: string,
  more: Readonly<Record<string, string>> = {},
): void {
  const { config } = record.spec;
  parts.events.emit('container', action, record.id, {
    ...config.labels,
    image: config.image,
    name: record.name,
    ...more,
  });
}

/** The bridge network takes the container in, or lets it go. */
export function networkEvent(
  parts: Pick<Parts, 'events'>,
  record: Pick<ContainerRecord, 'id' | 'spec'>,
  action: 'connect' | 'disconnect',
): void {
  const name = record.spec.config.network ?? 'bridge';
  if (name.startsWith('container:')) return;
  parts.events.emit('network', action, name, { container: record.id, name, type: name === 'none' ? 'null' : name });
}
