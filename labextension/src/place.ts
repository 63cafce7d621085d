/** Where a model is deployed to, and how, as a form asks it. No DOM. */

import type { IEndpointRow, IPlace } from './model';

/** What the deploy form holds. An empty deployment is the endpoint's main one, or its first. */
export interface IDeployForm {
  endpoint: string;
  /** The deployment that is replaced; `NEW` for one beside the others. */
  deployment: string;
  newName: string;
  traffic: number;
  modelClass: string;
  isAccelerated: boolean;
}

/** No name of a deployment. */
export const NEW = '+';

/** Turn what the form holds into the place of a command. */
export function toPlace(form: IDeployForm, row: IEndpointRow | undefined): IPlace {
  const isBeside = row !== undefined && form.deployment === NEW;
  return {
    endpoint_name: form.endpoint.trim(),
    deployment_name: isBeside ? form.newName.trim() : (row && form.deployment) || undefined,
    traffic: isBeside ? form.traffic : undefined,
    model_class: form.modelClass.trim() || undefined,
    accelerator: form.isAccelerated ? 'onnx' : undefined
  };
}
