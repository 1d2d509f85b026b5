import { type BigIntStats, lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** One layer of a view: its directory, and the paths in it (without a leading slash; '' is the top) that hide what is below. */
export interface ViewLayer {
  readonly files: string;
  readonly opaque: ReadonlySet<string>;
}

/** What a name comes to when layers are stacked. */
export interface ViewNode {
  readonly stat: BigIntStats;
  /** Target of a symbolic link. */
  readonly link?: string;
  /** A directory's parts, topmost first. */
  readonly parts: readonly ViewPart[];
}

interface ViewPart {
  readonly layer: ViewLayer;
  readonly path: string;
}

/**
 * Stacked layers as overlayfs would show them, without mounting: marks of overlayfs and `.wh.` files (as the native driver keeps them) both count. Layers
 * never change and directories are entered one name at a time, each seen to be one, so no link in them leads anywhere.
 */
export class LowerView {
  readonly #top: ViewNode | undefined;
  /** The directories last looked at: neighbours are asked for one after the other. */
  #near = new Map<string, ViewNode | undefined>();

  /** Topmost first. */
  constructor(layers: readonly ViewLayer[]) {
    const until = layers.findIndex((layer) => layer.opaque.has(''));
    const parts = (until < 0 ? layers : layers.slice(0, until + 1)).map((layer) => ({ layer, path: '' }));
    const [first] = parts;
    this.#top = first && { stat: lstatSync(first.layer.files, { bigint: true }), parts };
  }

  /** The node at a path without leading or trailing slashes; '' is the top. */
  find(path: string): ViewNode | undefined {
    if (path === '') return this.#top;
    if (this.#near.has(path)) return this.#near.get(path);
    const slash = path.lastIndexOf('/');
    const parent = this.find(slash < 0 ? '' : path.slice(0, slash));
    const node = parent && child(parent, path.slice(slash + 1));
    if (this.#near.size > 1000) this.#near = new Map();
    this.#near.set(path, node);
    return node;
  }

  /** Names in a directory, in no order. */
  names(node: ViewNode): string[] {
    const found = new Set<string>();
    for (const { layer, path } of node.parts) {
      for (const name of readdirSync(join(layer.files, path))) if (!name.startsWith('.wh.')) found.add(name);
    }
    return [...found].filter((name) => child(node, name) !== undefined);
  }
}

function child(parent: ViewNode, name: string): ViewNode | undefined {
  const parts: ViewPart[] = [];
  let top: BigIntStats | undefined;
  for (const { layer, path } of parent.parts) {
    const inner = path === '' ? name : `${path}/${name}`;
    const full = join(layer.files, inner);
    const stat = lstatSync(full, { bigint: true, throwIfNoEntry: false });
    if (stat?.isDirectory()) {
      top ??= stat;
      parts.push({ layer, path: inner });
      if (layer.opaque.has(inner) || exists(join(full, '.wh..wh..opq'))) break;
    } else if (stat) {
      const gone = stat.isCharacterDevice() && stat.rdev === 0n;
      if (top || gone) break;
      return { stat, parts: [], ...(stat.isSymbolicLink() && { link: readlinkSync(full) }) };
    }
    if (exists(join(layer.files, path, `.wh.${name}`))) break;
  }
  return top && { stat: top, parts };
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
