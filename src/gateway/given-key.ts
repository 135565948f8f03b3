import { SallyportError } from '../errors.ts';
import type { Provider } from '../providers/provider.ts';
import type { KeySnapshot } from './snapshot.ts';
import type { GivenKey } from './target.ts';

/**
 * A key that nobody stored is bound to no origin by its owner: it goes where the catalogue or the operator says, and nowhere else.
 *
 * @param customKey  the stored key whose origin, path and header a custom provider's name stands for; null for a known provider.
 * @throws {SallyportError} EGRESS_REFUSED, REQUEST_INVALID.
 */
export function givenKey(provider: Provider, customKey: KeySnapshot | null): GivenKey {
  const given = {
    id: null,
    version: null,
    source: 'pass-through',
    protection: 'none',
    isCallersOwn: true,
  } as const;
  if (customKey === null) {
    const { header, prefix } = provider.credential;
    return { ...given, auth: prefix === '' ? `header:${header}` : 'bearer', asksStreamUsage: false };
  }
  if (!customKey.isOperatorOrigin) {
    throw new SallyportError(
      'EGRESS_REFUSED',
      `A key that comes with its call goes to origins that the operator listed, and ${customKey.name} is none of them.`,
      {
        fix: 'Store the key for this origin, or have the operator list it in SALLYPORT_ALLOW_ORIGINS and store its entry anew.',
      },
    );
  }
  if (customKey.auth === 'none') {
    throw new SallyportError('REQUEST_INVALID', `${customKey.name} takes no key: send the call without one.`);
  }
  return { ...given, auth: customKey.auth, asksStreamUsage: customKey.asksStreamUsage };
}
