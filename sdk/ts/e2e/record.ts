/** Makes recordings on a server in `--dev` mode. */

/** A session that is over, with these comments; its id. */
export async function record(url: string, roomId: string, comments: { offset_ms: number; content: string }[], session: object = {}): Promise<string> {
  const answer = await fetch(`${url}/api/v1/admin/rooms/${roomId}/import`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ session, comments }),
  });
  if (!answer.ok) throw new Error(`import: ${answer.status} ${await answer.text()}`);
  return ((await answer.json()) as { session_id: string }).session_id;
}
