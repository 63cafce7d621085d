/** Where a model is deployed to, and how, as a form asks it. No DOM. */

import { endpointNameFor, IReference } from './format';
import type { IEndpointRow, IPlace } from './model';

/** What the deploy form holds. An empty deployment is the endpoint's main one, or its first. */
export interface IDeployForm {
  endpoint: string;
  /** The deployment that is replaced; `NEW` for one beside the others. */
  deployment: string;
  /** The name of a deployment beside the others; null for one that is free. */
  newName: string | null;
  traffic: number;
  modelClass: string;
  isAccelerated: boolean;
}

/** No name of a deployment. */
export const NEW = '+';

const COLOURS = ['blue', 'green'];

/** The form as it is first shown. */
export function deployFormFor(model: IReference): IDeployForm {
  return {
    endpoint: endpointNameFor(model.name),
    deployment: '',
    newName: null,
    traffic: 0,
    modelClass: '',
    isAccelerated: false
  };
}

/** The endpoint that the form names, if it is there already. */
export function rowOf(form: IDeployForm, endpoints: IEndpointRow[]): IEndpointRow | undefined {
  return endpoints.find(row => row.endpoint.name === form.endpoint.trim());
}

/** Suggest a name that no deployment of the endpoint has. */
export function freeName({ deployments }: IEndpointRow): string {
  const taken = new Set(deployments.map(({ name }) => name));
  const numbered = deployments.map((_, index) => `green-${index + 2}`); // one more than there are names to take
  return [...COLOURS, ...numbered].find(name => !taken.has(name)) ?? '';
}

/** Turn what the form holds into the place of a command. */
export function toPlace(form: IDeployForm, row: IEndpointRow | undefined): IPlace {
  const isBeside = row !== undefined && form.deployment === NEW;
  return {
    endpoint_name: form.endpoint.trim(),
    deployment_name: isBeside ? (form.newName ?? freeName(row)).trim() : (row && form.deployment) || undefined,
    traffic: isBeside ? form.traffic : undefined,
    model_class: form.modelClass.trim() || undefined,
    accelerator: form.isAccelerated ? 'onnx' : undefined
  };
}
