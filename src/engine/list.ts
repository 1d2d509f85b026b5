import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { containerView } from './container-view.ts';
import { anyOf, checkFilters, matchesLabels, matchesName } from './filters.ts';
import { parseExposed } from './merge-config.ts';
import { publishedPorts } from './network-access.ts';
import type { Parts } from './parts.ts';
import { printable } from './names.ts';
import type { ContainerRecord } from './record.ts';
import { reconcile } from './reconcile.ts';
import type { Container, ContainerState, Filters } from './types.ts';
import { sizesOf } from './sizes.ts';
import { current } from './with-container.ts';

const states: readonly ContainerState[] = ['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'];
const knownFilters = [
  ...['id', 'name', 'label', 'status', 'exited', 'ancestor', 'before', 'since'],
  ...['volume', 'network', 'publish', 'expose', 'health', 'is-task'],
];

/** Newest first; running ones unless `all`, `last` or a filter by state asks for others. */
export async function list(
  parts: Parts,
  context: Context,
  options: { all?: boolean; filters?: Filters; size?: boolean; last?: number } = {},
): Promise<readonly Container[]> {
  const filters = options.filters ?? {};
  checkFilters(filters, knownFilters);
  const test = recordFilter(parts, filters);
  await reconcile(parts, context);
  const all = options.all || (options.last ?? 0) > 0 || ['status', 'exited'].some((f) => (filters[f] ?? []).length > 0);
  const records = parts.records
    .list()
    .filter((r) => r.phase !== 'creating' && (all || ['running', 'paused', 'restarting'].includes(r.state)))
    .filter(test)
    .slice(0, (options.last ?? 0) > 0 ? options.last : undefined);
  const views: Container[] = [];
  for (const record of records) {
    const sizes = options.size ? await sizesOf(parts, context, record) : {};
    views.push({ ...containerView(parts, record), ...sizes });
  }
  return views;
}

export async function inspect(
  parts: Parts,
  context: Context,
  reference: string,
  options: { size?: boolean } = {},
): Promise<Container> {
  const record = await current(parts, context, reference);
  const sizes = options.size ? await sizesOf(parts, context, record) : {};
  return { ...containerView(parts, record), ...sizes };
}

/** Checks the filters' words, and makes the test that a row must pass. */
function recordFilter(parts: Parts, filters: Filters): (record: ContainerRecord) => boolean {
  const bad = (key: string, value: string): KeelsonError =>
    new KeelsonError('invalid-argument', `invalid filter '${key}=[${printable(value)}]'`);
  for (const value of filters['status'] ?? []) {
    if (!(states as readonly string[]).includes(value)) {
      const why = `invalid value for state (${printable(value)}): must be one of ${states.join(', ')}`;
      throw new KeelsonError('invalid-argument', `invalid filter 'status=${printable(value)}': ${why}`);
    }
  }
  for (const value of filters['exited'] ?? []) if (!/^-?\d+$/.test(value)) throw bad('exited', value);
  const [before, since] = ['before', 'since'].map((key) =>
    (filters[key] ?? []).map((ref) => parts.records.find(ref).createdAt),
  );
  const ancestors = new Set(filters['ancestor']);
  return (record) => {
    const { config, mounts } = record.spec;
    return (
      anyOf(filters, 'id', (v) => record.id.startsWith(v)) &&
      anyOf(filters, 'name', (v) => matchesName(v, record.name)) &&
      matchesLabels(filters, config.labels ?? {}) &&
      anyOf(filters, 'status', (v) => record.state === v) &&
      anyOf(filters, 'exited', (v) => record.state === 'exited' && record.exitCode === Number(v)) &&
      (ancestors.size === 0 || isOfImage(record, ancestors)) &&
      (before ?? []).every((time) => record.createdAt < time) &&
      (since ?? []).every((time) => record.createdAt > time) &&
      anyOf(filters, 'volume', (v) => mounts.some((m) => m.name === v || m.target === v || m.source === v)) &&
      anyOf(filters, 'network', (v) => (config.network ?? 'bridge') === v) &&
      anyOf(filters, 'publish', (v) => parseExposed(v).some((p) => isPublished(record, p.port, p.protocol))) &&
      anyOf(filters, 'expose', (v) => parseExposed(v).some((p) => isExposed(record, p.port, p.protocol))) &&
      anyOf(filters, 'health', (v) => v === 'none') &&
      anyOf(filters, 'is-task', (v) => v === 'false')
    );
  };
}

/** By what it was asked for, or by id; a name without tag means `latest`. */
function isOfImage(record: ContainerRecord, wanted: ReadonlySet<string>): boolean {
  const { image } = record.spec.config;
  const hex = record.imageId.replace(/^sha256:/, '');
  return [...wanted].some(
    (name) =>
      image === name ||
      image === `${name}:latest` ||
      `${image}:latest` === name ||
      (name.length >= 4 && (hex.startsWith(name) || record.imageId.startsWith(name))),
  );
}

function isPublished(record: ContainerRecord, port: number, protocol: string): boolean {
  const ports = record.network.ports ?? publishedPorts(record.spec.config);
  return ports.some((p) => p.containerPort === port && p.protocol === protocol);
}

function isExposed(record: ContainerRecord, port: number, protocol: string): boolean {
  const exposed = record.spec.config.exposedPorts ?? [];
  return exposed.some((p) => p.port === port && p.protocol === protocol) || isPublished(record, port, protocol);
}
