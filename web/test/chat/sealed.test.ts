// What the people of a conversation agree on, what is inside encrypted messages, and the files beside them.
import { describe, expect, test } from "vitest";
import { agree, type Agreement, type Heard } from "../../src/chat/agreement";
import { decodeBody, encodeBody, type SealedBody } from "../../src/chat/sealed-body";
import { openFile, sealFile } from "../../src/chat/sealed-files";

const text: SealedBody = { kind: "text", text: "hello" };
const setting = (sealed: boolean): SealedBody => ({ kind: "setting", sealed });
const after = (...heard: Heard[]): Agreement | undefined => heard.reduce<Agreement | undefined>(agree, undefined);

describe("the agreement", () => {
  test("an encrypted message turns it on, for whoever reads it", () => {
    expect(after({ id: "9", body: text })).toEqual({ sealed: true, at: "9", since: "9" });
    expect(after({ id: "9", body: setting(true) }, { id: "10", body: text })).toEqual({ sealed: true, at: "10", since: "9" });
  });

  test("only an encrypted word of one of the two turns it off, and what is older changes nothing", () => {
    const off = after({ id: "9", body: text }, { id: "10", body: setting(false) });
    expect(off).toEqual({ sealed: false, at: "10" });
    expect(agree(off, { id: "9", body: text })).toBe(off);
    expect(agree(off, { id: "11", body: text })).toMatchObject({ sealed: true, since: "11" });
  });

  test("a device that cannot read takes it for on, unless it knows better", () => {
    expect(after({ id: "9" })).toMatchObject({ sealed: true });
    const off = after({ id: "9", body: setting(false) });
    expect(agree(off, { id: "12" })).toBe(off);
    expect(agree(after({ id: "9" }), { id: "12", body: setting(false) })).toMatchObject({ sealed: false });
  });
});

describe("bodies", () => {
  const file: SealedBody = { kind: "file", upload_id: "7", key: "00", nonce: "01", name: "a.png", content_type: "image/png", size_bytes: 3, msg_type: "image" };
  test("come out as they went in", () => {
    const edit: SealedBody = { kind: "edit", of: "275898300000000001", text: "hello again" };
    for (const body of [text, edit, file, setting(true), setting(false)]) expect(decodeBody(encodeBody(body))).toEqual(body);
  });
  test("a text never passes for something else", () => {
    const forged = encodeBody(setting(false));
    expect(decodeBody(encodeBody({ kind: "text", text: forged + forged }))).toMatchObject({ kind: "text" });
    expect(decodeBody(encodeBody({ kind: "text", text: `\u001e${forged}` }))).toMatchObject({ kind: "text" });
  });
  test("what is not known reads as nothing", () => {
    for (const odd of ["\u001e", "\u001e{}", '\u001e{"kind":"file"}', '\u001e{"kind":"setting","sealed":1}', "\u001enull", '\u001e{"kind":"edit","text":"x"}']) expect(decodeBody(odd)).toBeUndefined();
  });
});

describe("files", () => {
  test("are opened by whoever has the key, and only whole", async () => {
    const { bytes, sealed } = await sealFile(new File(["月亮"], "月.txt", { type: "text/html" }));
    const content = await bytes.arrayBuffer();
    expect(new TextDecoder().decode(content)).not.toContain("月亮");
    const opened = await openFile({ ...sealed, upload_id: "1" }, content);
    expect(await opened.text()).toBe("月亮");
    expect(opened.type).toBe("application/octet-stream"); // never a page of this site
    const view = new Uint8Array(content);
    view.set([(view[0] ?? 0) ^ 1]);
    await expect(openFile({ ...sealed, upload_id: "1" }, content)).rejects.toThrow();
  });
});
