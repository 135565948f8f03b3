import { Decrypter, Encrypter, armor } from 'age-encryption';
import { SallyportError } from '../errors.ts';

/** age (age-encryption.org/v1): for what leaves the installation to be kept by a person. Not on the way of a call. */

const maxRecipients = 16;
const maxIdentityLength = 65_536;

/** @throws {SallyportError} REQUEST_INVALID: not `age1…` with a right checksum; none; more than 16. */
export async function sealToRecipients(
  recipients: readonly string[],
  content: Uint8Array,
): Promise<Uint8Array> {
  if (recipients.length === 0 || recipients.length > maxRecipients)
    throw invalid(`1 to ${maxRecipients} age recipients are needed.`);
  const encrypter = new Encrypter();
  for (const recipient of recipients) {
    try {
      encrypter.addRecipient(recipient);
    } catch {
      throw invalid('A recipient is not of the form age1…, or has a slip in it.');
    }
  }
  return encrypter.encrypt(content);
}

/**
 * @param identities text of an identity file of age: lines `AGE-SECRET-KEY-1…`, comments by `#`.
 * @returns the caller's to wipe.
 * @throws {SallyportError} REQUEST_INVALID: no identity in the text; CONFLICT: none of them opens it, or it is damaged.
 */
export async function openWithIdentities(identities: string, sealed: Uint8Array): Promise<Uint8Array> {
  const lines = identities
    .slice(0, maxIdentityLength)
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  if (lines.length === 0) throw invalid('There is no age identity in that file.');
  const decrypter = new Decrypter();
  for (const line of lines) {
    try {
      decrypter.addIdentity(line);
    } catch {
      throw invalid('A line of the identity file is no age identity (AGE-SECRET-KEY-1…).');
    }
  }
  try {
    return await decrypter.decrypt(sealed);
  } catch (cause) {
    throw new SallyportError('CONFLICT', 'It was not encrypted to this age identity, or it is damaged.', {
      fix: 'Give the identity file whose public half (age1…) was named when it was made.',
      cause,
    });
  }
}

export const ageText = (sealed: Uint8Array): string => armor.encode(sealed);

/** @throws {SallyportError} CONFLICT */
export function ageBytes(text: string): Uint8Array {
  try {
    return armor.decode(text);
  } catch (cause) {
    throw new SallyportError('CONFLICT', 'The age part of the file is damaged.', { cause });
  }
}

function invalid(message: string): SallyportError {
  return new SallyportError('REQUEST_INVALID', message, {
    fix: 'age-keygen makes an identity file and shows its recipient, age1….',
  });
}
