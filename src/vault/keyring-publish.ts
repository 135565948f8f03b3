import { canaryContext } from './context.ts';
import type { KekRing } from './keyring.ts';

/**
 * The root keys that this node can open with: those held here, and those in a key service that were tried once with success. A key
 * that the others have but this node may not use is not promoted over its head.
 */
export function createUsableKeys({
  ring,
  deploymentId,
}: {
  readonly ring: KekRing;
  readonly deploymentId: string;
}) {
  const proved = new Set<string>();

  return async function usableKeys(): Promise<readonly string[]> {
    const usable: string[] = [];
    for (const { id, scheme } of ring.list()) {
      if (scheme === null) continue;
      if (scheme !== 'local' && !proved.has(id)) {
        const isProved = await ring.selfTest(id, canaryContext(deploymentId)).then(
          () => true,
          () => false,
        );
        if (!isProved) continue;
        proved.add(id);
      }
      usable.push(id);
    }
    return usable;
  };
}
