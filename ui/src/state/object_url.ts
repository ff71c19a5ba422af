// An address for a blob, the same as long as the blob is there.
const urls = new WeakMap<Blob, string>();

export function urlOfBlob(blob: Blob): string {
  let url = urls.get(blob);
  if (!url) {
    url = URL.createObjectURL(blob);
    urls.set(blob, url);
  }
  return url;
}
