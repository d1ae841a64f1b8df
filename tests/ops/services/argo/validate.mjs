// Validate the objects of Argo in a JSON array on standard input; print a line for each fault.
//   node validate.mjs FOLDER_OF_NODE_MODULES <objects.json
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const models = `${process.argv[2]}/node_modules/@kubernetes-models/argo-rollouts`;
let faults = 0;
for (const each of JSON.parse(readFileSync(0, "utf8"))) {
  const file = pathToFileURL(`${models}/${each.apiVersion}/${each.kind}.js`);
  const model = (await import(file.href))[each.kind];
  try {
    new model(each).validate();
  } catch (error) {
    faults += 1;
    console.log(`${each.kind} ${each.metadata.name}: ${error.message}`);
  }
}
process.exit(faults ? 1 : 0);
