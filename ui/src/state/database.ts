// What this browser keeps (IndexedDB): pictures, requests on their way, and the picture to start from.
import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import type { Picture } from "./gallery";
import type { SavedJob } from "./jobs";
import type { Source } from "./source";

interface Schema extends DBSchema {
  pictures: { key: string; value: Picture; indexes: { created: number } };
  jobs: { key: string; value: SavedJob };
  form: { key: "source"; value: Source };
}

export type Database = IDBPDatabase<Schema>;

export const database: Promise<Database> = openDB<Schema>("dreamlab", 2, {
  upgrade(db, version) {
    if (version < 1) db.createObjectStore("pictures", { keyPath: "id" }).createIndex("created", "created");
    db.createObjectStore("jobs", { keyPath: "id" });
    db.createObjectStore("form");
  },
  // Another page with a newer version waits for this one to let go.
  blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
});
// Who uses it says what went wrong.
database.catch(() => undefined);

// For what is kept as a convenience: where the browser keeps nothing, the page works without.
export async function tryKeep(change: (db: Database) => Promise<unknown>): Promise<void> {
  try {
    await change(await database);
  } catch {
    // Private windows and full disks.
  }
}
