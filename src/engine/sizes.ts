import type { Context } from '../ground/context.ts';
import type { Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';

/** Bytes that the container has written, and those of its image with them. */
export async function sizesOf(
  parts: Parts,
  context: Context,
  record: ContainerRecord,
): Promise<{ sizeRw: number; sizeRootFs: number }> {
  const { written, image } = await parts.images.containerUsage(context, record.id, record.imageId);
  return { sizeRw: written, sizeRootFs: written + image };
}
