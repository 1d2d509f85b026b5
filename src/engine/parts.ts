import { join } from 'node:path';
import type { Context } from '../ground/context.ts';
import type { Paths } from '../ground/paths.ts';
import type { NewLayerImage } from '../image/create-image.ts';
import type { Platform } from '../image/types.ts';
import type { HostFacts } from '../kernel/facts.ts';
import type { Keel } from '../kernel/keel.ts';
import type { NetworkSteps } from '../runtime/container-plan.ts';
import type { RootSource } from '../runtime/rootfs.ts';
import type { Database } from '../store/database.ts';
import type { Leases } from '../store/leases.ts';
import type { Trash } from '../store/trash.ts';
import type { Events } from './events.ts';
import type { ImageDefaults } from './merge-config.ts';
import type { ContainerRecord, Records } from './record.ts';
import type { ContainerNetwork, DiffEntry } from './types.ts';
import type { Volumes } from './volumes.ts';

/** An image that is there, as a container needs it. */
export interface ContainerImage {
  /** Digest of the config. */
  readonly id: string;
  readonly defaults: ImageDefaults;
}

/** What the engine asks of the images. */
export interface ImageAccess {
  /** Finds the image, pulling it as the policy says. */
  resolve(
    context: Context,
    reference: string,
    options: { platform?: Platform; pull?: 'always' | 'missing' | 'never' },
  ): Promise<ContainerImage>;
  /** Throws `not-found` when the image has gone meanwhile. Within a transaction: reads the database only. */
  checkThere(imageId: string): void;
  /** A container's root file system, made ready to be mounted; the same one each time until `removeContainer`. */
  containerRoot(context: Context, container: string, imageId: string): Promise<RootSource>;
  /** The same, only to be looked at: nothing is made. */
  previewRoot(container: string, imageId: string): Promise<RootSource>;
  removeContainer(container: string): Promise<void>;
  /** Puts in order what processes that died in the middle of their work on images and roots have left. */
  recover(context: Context): Promise<void>;
  /** A container of the image is gone: an image that was only kept for it goes too. */
  released(imageId: string): Promise<void>;
  changes(context: Context, container: string, imageId: string): Promise<readonly DiffEntry[]>;
  /** Makes an image of the container's changes on top of its own; the id. */
  commit(
    context: Context,
    container: string,
    imageId: string,
    image: Omit<NewLayerImage, 'base' | 'layer'>,
  ): Promise<string>;
  /** Bytes that the container has written, and those of its image. */
  containerUsage(context: Context, container: string, imageId: string): Promise<{ written: number; image: number }>;
}

/** A container's part in a network, for one run. */
export interface Attached {
  readonly steps: NetworkSteps;
  /** What it was given; `bound` is what the plan reported of ports that were to be chosen. */
  network(bound: readonly bigint[]): ContainerNetwork;
  /** Content of the files that are mounted over those in /etc. */
  readonly hosts: string;
  readonly resolvConf: string;
}

/** What the engine asks of the network. */
export interface NetworkAccess {
  /** Gives it an address and ports, recorded under its id until `release`. */
  attach(record: Pick<ContainerRecord, 'id' | 'name' | 'spec'>): Attached;
  /** The same, only to be looked at: nothing is taken. */
  preview(record: Pick<ContainerRecord, 'id' | 'name' | 'spec'>): Attached;
  /** Gives back what `attach` gave, once nothing uses it any more. Nothing happens when there is nothing to give back. */
  release(id: string): void;
  /** Releases it too, after a keeper that could not tear down by itself. */
  cleanUp(context: Context, id: string): Promise<void>;
}

/** Everything that the engine's areas work with; made once by `Engine.open`. */
export interface Parts {
  readonly paths: Paths;
  readonly db: Database;
  readonly leases: Leases;
  readonly trash: Trash;
  readonly records: Records;
  readonly events: Events;
  readonly volumes: Volumes;
  readonly keel: Keel;
  readonly facts: HostFacts;
  readonly images: ImageAccess;
  readonly network: NetworkAccess;
  /** argv of the program that deals with the exit of a container whose id is appended. */
  readonly exitCommand: readonly string[];
  /** This process stays: it deals with exits itself, as long as it lives. */
  readonly resident: boolean;
  /** In a resident process: sees to it that the container is started again when that is due. */
  restartLater(id: string): void;
}

/** A container's places on disk. Those below the run directory don't survive a reboot. */
export interface ContainerPaths {
  readonly data: string;
  readonly hostname: string;
  readonly hosts: string;
  readonly resolvConf: string;
  readonly log: string;
  readonly run: string;
  readonly socket: string;
  readonly execs: string;
  readonly exitRecord: string;
}

export function containerPaths(paths: Paths, id: string): ContainerPaths {
  const data = join(paths.root, 'containers', id);
  const run = join(paths.run, 'containers', id);
  return {
    data,
    hostname: join(data, 'hostname'),
    hosts: join(data, 'hosts'),
    resolvConf: join(data, 'resolv.conf'),
    log: join(data, `${id}-json.log`),
    run,
    socket: join(run, 'keeper.sock'),
    execs: join(run, 'exec'),
    exitRecord: join(exitsFolder(paths), `${id}.json`),
  };
}

/** Where all keepers leave their exit records: one directory to watch and to look into. */
export function exitsFolder(paths: Paths): string {
  return join(paths.run, 'exits');
}

/** An empty directory on which roots are mounted, each in its own mount namespace only. */
export function mountPoint(paths: Paths): string {
  return join(paths.run, 'rootfs');
}

export function leaseKey(id: string): string {
  return `container:${id}`;
}
