import { familiarReference } from '../../image/reference.ts';
import type { ImageDetails } from '../../image/image-details.ts';
import { listOrNil, mapOf, nilMap } from './nil.ts';
import { goTime } from './time.ts';

/** An image as `GET /images/{name}/json` and `docker image inspect` have it, in API 1.51's order of fields. */
export function imageInspect(image: ImageDetails): object {
  const { config, platform } = image;
  const defaults = config.config ?? {};
  const { history = [] } = config;
  return {
    Id: image.id,
    RepoTags: image.tags.map((name) => familiarReference(name)),
    RepoDigests: image.digests.map((name) => familiarReference(name)),
    Parent: '',
    Comment: history.at(-1)?.comment ?? '',
    ...(config.created !== undefined && { Created: config.created }),
    DockerVersion: '',
    Author: config.author ?? '',
    Architecture: platform.architecture,
    ...(platform.variant !== undefined && { Variant: platform.variant }),
    Os: platform.os,
    Size: image.size,
    GraphDriver: { Data: nilMap, Name: 'overlayfs' },
    RootFS: { Type: 'layers', Layers: image.layers.map(({ diffId }) => diffId) },
    Metadata: { LastTagTime: goTime(image.taggedAt) },
    Descriptor: { mediaType: image.manifestType, digest: image.manifestDigest },
    Config: {
      Cmd: listOrNil(defaults.Cmd),
      Entrypoint: listOrNil(defaults.Entrypoint),
      Env: listOrNil(defaults.Env),
      ...(defaults.ExposedPorts && { ExposedPorts: mapOf(defaults.ExposedPorts) }),
      ...(defaults.Healthcheck && { Healthcheck: defaults.Healthcheck }),
      Labels: defaults.Labels === undefined ? nilMap : mapOf(defaults.Labels),
      OnBuild: listOrNil(defaults.OnBuild),
      ...(defaults.Shell && { Shell: defaults.Shell }),
      ...(defaults.StopSignal !== undefined && { StopSignal: defaults.StopSignal }),
      User: defaults.User ?? '',
      Volumes: defaults.Volumes === undefined ? nilMap : mapOf(defaults.Volumes),
      WorkingDir: defaults.WorkingDir ?? '',
    },
  };
}
