"""All messages for the user, in one place, numbered.

Every message names the cause and the remedy. Messages may name a record id, a field, a path or a
line number; they never contain the patient's text. Ranges: 1xx lexicon and tokenizer, 2xx images,
3xx records and corpora, 4xx models and components, 5xx command line, 61x typed fields.
"""

import warnings


class TCMError(ValueError):
    """Base class of every error that spacy_tcm raises on purpose."""


class LexiconError(TCMError):
    """A lexicon table or a term cannot be used."""


class RecordError(TCMError):
    """A record or a corpus cannot be used."""


class ModelError(TCMError):
    """A model or a pipeline component is used in a way it does not support."""


class BudgetInfeasibleError(ModelError):
    """A net cannot be made small enough. min_bytes: the least that it takes."""

    def __init__(self, budget: int, min_bytes: int):
        super().__init__(Errors.E491.format(budget=budget, least=min_bytes))
        self.budget, self.min_bytes = budget, min_bytes

    def __reduce__(self) -> tuple:
        return type(self), (self.budget, self.min_bytes)


class Errors:
    # 1xx: lexicon and tokenizer
    E101 = "[E101] There is no lexicon table at {path}. Check the path."
    E102 = "[E102] The folder {path} holds no *.tsv file. Give a folder or file of lexicon tables."
    E103 = "[E103] {path}, line {line}: not UTF-8. Save the table as UTF-8."
    E104 = (
        "[E104] {path}, line 1: the header must name the tab-separated columns: term and category, "
        "and any of {columns}; each once."
    )
    E105 = (
        "[E105] {where}: {found} tab-separated columns, but the header has {expected}. Every line, "
        "also a blank one, needs as many as the header."
    )
    E106 = "[E106] {where}: {reason}. Correct or remove this entry."
    E107 = "[E107] {where}: same term and category as line {first}. Remove one of the two."
    E108 = (
        "[E108] Character {position} of the text is a lone surrogate, so the text is not valid "
        "Unicode. Decode the source with its right encoding, or replace that character."
    )
    E109 = '[E109] granularity must be "char" or "word", not {found!r}.'
    E110 = "[E110] {where}: not a term. Give (term, category), both text, or an Entry."
    # 2xx: images
    E201 = (
        "[E201] A tongue photo is a str path, the bytes of an encoded file, or a uint8 array "
        "(height, width, 3). Convert other objects first, e.g. str(path) or numpy.asarray(image)."
    )
    E202 = (
        "[E202] A photo given as an array must be uint8, (height, width, 3), RGB. Convert it, e.g. "
        "(array * 255).astype('uint8') for floats from 0 to 1."
    )
    E203 = "[E203] No file is at this path. Check the path and the image root; URLs are not read."
    E204 = "[E204] The path is a folder, pipe or device. Give the path of one image file."
    E205 = "[E205] The file may not be read by this user. Change its permissions."
    E206 = (
        "[E206] The file could not be read from its disk. Copy it to a local folder and try again."
    )
    E207 = "[E207] The file is empty. Export or copy the photo again."
    E208 = "[E208] The photo has over 64 megapixels or its file over 64 MiB. Save a smaller one."
    E209 = "[E209] Not a JPEG, PNG, WebP, BMP or TIFF file. Export the photo (e.g. HEIC) as JPEG."
    E210 = "[E210] The file is cut short or damaged. Export or copy the photo again."
    E211 = "[E211] The file is an animation or has several pages. Save the frame that is meant."
    E212 = "[E212] The colours are stored as CMYK or Lab. Save the photo as 8-bit sRGB."
    E213 = "[E213] The colours are stored with 16 bits. Save the photo as 8-bit sRGB."
    E214 = "[E214] The photo has no colour, which a tongue is judged by. Use a colour photo."
    E215 = "[E215] A side of the photo is under 32 pixels. Use the original photo."
    E216 = "[E216] The photo is over four times as long as wide. Use the original photo."
    E217 = "[E217] The photo shows one even area. Take it again."
    E218 = "[E218] The photo is almost black. Take it again with more light."
    E219 = "[E219] The photo is almost white. Take it again with less light."
    E220 = "[E220] Unknown reason {reason!r}. Known reasons: {known}."
    E221 = "[E221] An image path must be a string, not {kind}. Correct the record's 'image'."
    E222 = (
        "[E222] The image path is not a plain relative path. Give it relative to the image "
        "root, with '/', without '..', drive letter or leading '/'."
    )
    E223 = "[E223] The image path is no valid path on this system. Rename the file."
    E224 = (
        "[E224] The image path leads out of the image root. Copy the file below the root "
        "instead of linking to it."
    )
    E231 = "[E231] To draw a tongue takes the attributes {expected}, not {found}. Correct them."
    E232 = "[E232] Tongue attribute {name} cannot be {value!r}. Choose one of: {allowed}."
    E241 = "[E241] No tongue was found. Take the photo again, the tongue out and facing the camera."
    E242 = "[E242] The tongue is too small in the photo. Take it again from nearer."
    E243 = "[E243] There is more than one tongue. Take a photo of one person."
    E244 = "[E244] The tongue is cut off at the edge. Take the photo again with all of it inside."
    E245 = "[E245] The tongue is blurred. Let the camera focus, hold it still, and take it again."
    E246 = "[E246] The tongue is too dark. Take the photo again with more light."
    E247 = "[E247] The tongue is too bright. Take the photo again with less light on it."
    E248 = "[E248] Too much of the tongue is glare. Take the photo again without flash."
    E249 = "[E249] The light is strongly coloured. Take the photo again in daylight or white light."
    # 3xx: records and corpora
    E301 = (
        "[E301] {path}: no such file or folder. Give .txt, .jsonl or .spacy files, or a folder. (A path "
        "that begins with null is made of a setting in [paths] that has no value.)"
    )
    E302 = (
        "[E302] {path}: cannot read this kind of file. Give .txt (inline marks), .jsonl or .spacy."
    )
    E303 = "[E303] {path}: the folder holds no .txt, .jsonl or .spacy file. Name another folder."
    E304 = "[E304] {path}: not UTF-8 text. Save the file as UTF-8."
    E305 = "[E305] {place}: not valid JSON ({cause}). Write one JSON object a line."
    E306 = "[E306] {path}: not a readable .spacy file. Write it again with `spacy_tcm convert`."
    E310 = "[E310] {place}: {field} must be {expected}. Correct the record."
    E311 = (
        "[E311] {place}: {field} {number} ends outside the text or is empty: [{start}, {end}) of "
        "{length} characters. Count offsets in characters, end exclusive."
    )
    E312 = (
        "[E312] {place}: entities [{start}, {end}) and [{other_start}, {other_end}) overlap. "
        "Entities are flat: keep one of the two."
    )
    E313 = (
        "[E313] {place}: entity [{start}, {end}) has the label '{label}', which this corpus does "
        "not annotate. Correct it, add it to `labels`, or map it with `label_map`."
    )
    E314 = (
        "[E314] {place}: qualifier {number} must name the exact span of an entity and one of "
        "{allowed}. Correct the record."
    )
    E315 = "[E315] {place}: the evidence of field '{field}' is empty or not in the text."
    E316 = "[E316] {place}: the id is used before in {first}. Give every record its own id."
    E317 = "[E317] {place}: the text holds a lone surrogate, no Unicode character. Mend the source."
    E318 = "[E318] {place}: field '{field}' is not defined. Use a field of the definition file."
    E319 = "[E319] {place}: the value of field '{field}' must be {expected}."
    E320 = "[E320] {path}: field definitions cannot be read ({cause}). See assets/fields.json."
    E321 = "[E321] {place}: {cause}"
    E322 = (
        "[E322] The label map gives '{label}' for '{own}', which is none of our labels. Correct it; "
        "for labels of your own, list in `labels` what the corpus annotates."
    )
    E330 = "[E330] {place}: the header needs `=== id | department | style`."
    E331 = (
        "[E331] {place}: a record needs its text, a line `--- fields`, one line of JSON, a line "
        "`--- meta` and one line of JSON, in this order. The last four lines may be left out "
        "together; no line of the text may begin with `--- `."
    )
    E332 = (
        "[E332] {place}: a bracket or bar outside a mark, or a malformed mark. Write "
        "surface|LABEL or surface|LABEL|qualifier between the brackets; no nesting."
    )
    E333 = "[E333] {place}: a marked surface begins or ends with a space. Move the mark."
    E334 = "[E334] record '{record}': cannot be written with inline marks ({cause}). Use JSONL."
    E335 = "[E335] {path}: text before the first header `=== id | department | style`."
    E340 = "[E340] {path}: the split must be a JSON object of part -> list of file stems ({cause})."
    E341 = (
        "[E341] split: the file '{stem}' is in {count} parts. Name every input file exactly once."
    )
    E342 = "[E342] split: no input file is called '{stem}'. Correct the split or add the file."
    E343 = "[E343] {path}: would overwrite an input file. Choose another output folder."
    E344 = "[E344] {path}: two input files would both be written to it. Rename one of them."
    E345 = (
        "[E345] {path}: must be a JSON object of label -> one of the 23 labels, a list of them, or "
        "null ({cause})."
    )
    E346 = (
        "[E346] That is the first problem, and nothing was written. `python -m spacy_tcm check` lists "
        "everything that is wrong in the files as they are."
    )
    E350 = "[E350] There is no corpus to mix. Give at least one in [corpora]."
    E351 = "[E351] {name} of a corpus must be {expected}, not {value!r}. Correct it in [corpora]."
    E352 = "[E352] {path}: there is no record in it. Check the path and what the file holds."
    E353 = (
        "[E353] No corpus of the mixture gave an Example in this pass. Raise their weights, or give "
        "more records."
    )
    E360 = "[E360] The augmenter's setting '{name}' must be from 0 to 1, not {value}. Correct it."
    E361 = (
        "[E361] This augmenter needs the package '{package}': at the root of the repository, "
        "pip install '.[train]', or take the augmenter out of the config."
    )
    E362 = "[E362] Entities cannot be replaced by label: {labels} is none of the 23 labels."
    E363 = (
        "[E363] There is no term to replace entities of {labels} by. Give a lexicon or a corpus with "
        "Chinese terms of these labels."
    )
    E364 = (
        "[E364] There is no variant '{variant}' of traditional characters. Use one of {variants}."
    )
    E365 = "[E365] A chance is given for {unknown}, but the steps are called {steps}. Correct the name."
    E366 = (
        "[E366] The step '{name}' is no augmenter. Name one by @misc, such as spacy_tcm.typos.v1."
    )
    E371 = "[E371] {path}: the photo cannot be used ({reason}). Replace or remove it."
    E372 = "[E372] {path}: there is no mask of this name in {folder}. Add it or remove the photo."
    E373 = "[E373] {folder}: there is no photo here. Give a folder that has images/ and masks/."
    E374 = "[E374] {path}: not a readable image. Export the mask again."
    E376 = "[E376] All photos are held out, none is left to learn from. Lower --held-out."
    E377 = "[E377] {path}: not a readable .safetensors file. Check the path."
    E375 = "[E375] {path}: the mask has another shape than its photo. Export both at one size."
    E381 = "[E381] There is no table of labels at {path}. Check the path."
    E382 = "[E382] {path}: there is no column {columns}. Name the columns in the first line."
    E383 = "[E383] {path}: no photo of the split {split!r} has a label. Check file and split."
    E384 = (
        "[E384] {path}: there is no photo '{name}' in {root}. Correct the name or the image root."
    )
    E385 = (
        "[E385] held_out must be a share from 0 to below 1, and part all, learned or held_out, not "
        "{held_out!r} and {part!r}. Correct the config."
    )
    # 4xx: models and components
    E401 = "[E401] The {name} layer has no weights yet. Call nlp.initialize() or load a pipeline first."
    E402 = (
        "[E402] The saved weights of the {name} layer cannot be used ({error}). The file is damaged "
        "or was made by another version: copy or train the pipeline again."
    )
    E403 = (
        "[E403] Expected weights of a {name} layer, found {found!r}. Use this pipeline's own files."
    )
    E404 = (
        "[E404] image_size ({size}) must be a multiple of the net's stride ({stride}), and inner "
        "({inner} stages) as long as depths ({depths}). Change the model's settings."
    )
    E405 = (
        "[E405] The photo features sent by {name!r} belong to another batch. Train both components "
        "in one pipeline, the tongue encoder before its listeners."
    )
    E406 = (
        "[E406] Record {id!r} has a photo that no tongue encoder has looked at. A frozen encoder "
        'must be listed in [training] annotating_components, e.g. ["tongue_encoder"].'
    )
    E407 = "[E407] Dropout shares must be at least 0 and below 1. Change the model's settings."
    E408 = (
        "[E408] The token vectors are {width} wide, which {heads} attention heads do not divide. "
        "Choose heads that divide the width."
    )
    E409 = "[E409] {name}: there are no labels. Give examples with entities, or a list of labels."
    E410 = (
        "[E410] {name}: cannot add label {label!r}, the network already has its outputs. Add all "
        "labels before nlp.initialize()."
    )
    E411 = (
        "[E411] {name}: record {id!r} says it shows {attribute} = {value!r}, which is not among the "
        "values {values}. Correct the record, or initialise with this value."
    )
    E412 = (
        "[E412] {path} exists already and is not an empty folder. Give a new folder, or remove this "
        "one first."
    )
    E413 = "[E413] max_subwords must be at least 1, not {found}. Change the span getter's settings."
    E414 = "[E414] There is no text to take a vocabulary from. Give records or lexicon tables."
    E415 = (
        "[E415] The domain texts hold nothing to train on: {cause}. Give other records or texts with "
        "--domain."
    )
    E416 = "[E416] '{path}' is no kind of text that is read. Give a file that ends in {suffixes}."
    E417 = (
        "[E417] '{path}' cannot be read as text ({cause}). Check the path; what is read is UTF-8 text, or "
        "JSON lines with a field `text`."
    )
    E418 = (
        "[E418] {path} was begun with other settings ({names}). Give the same ones to go on with it, "
        "or another folder."
    )
    E419 = (
        "[E419] The checkpoint in {path} is damaged ({cause}). Remove it to begin again, but first move "
        "away the encoder beside it, if there is one: it is not damaged by this."
    )
    E425 = (
        "[E425] Texts of {length} subwords are longer than the {positions} that the encoder reads. "
        "Choose a smaller --length."
    )
    E426 = "[E426] There is no device '{device}' ({cause}). Choose another --device, such as cpu."
    E427 = (
        "[E427] The teacher has {teacher} layers, which the student's {student} do not divide. Choose "
        "a student with one of {fits}."
    )
    E428 = (
        "[E428] The encoder '{name}' cannot be loaded ({cause}). Give a Hugging Face folder, or the "
        "name of a hub model if there is a network."
    )
    E429 = (
        "[E429] The tokenizer of '{name}' lacks what masked language modelling needs: a fast version, "
        "a mask and a padding token. Choose another teacher."
    )
    E430 = (
        "[E430] '{name}' is a student of type '{kind}', but it must be an ordinary BERT. Give another "
        "--student, or none to make a new one."
    )
    E431 = (
        "[E431] The student '{name}' has not the teacher's vocabulary. Give another --student, or none "
        "to make a new one."
    )
    E432 = (
        "[E432] {path} was begun with something else for {names}. Give the same to go on with it, or "
        "another folder."
    )
    E433 = (
        "[E433] '{path}' is no WordPiece vocabulary: it lacks {missing}. Give the vocab.txt of a BERT, "
        "a token a line."
    )
    E434 = (
        "[E434] The learning rate must be above 0 and finite, not {found}. Choose another --rate."
    )
    E435 = (
        "[E435] The weights of the losses must be finite, none below 0 and not all 0, or there is "
        "nothing to learn. Give another --...-weight."
    )
    E436 = (
        "[E436] The folder '{path}' holds no text that is read. Give one with files that end in "
        "{suffixes}; folders in it are not searched."
    )
    E437 = (
        "[E437] The tokenizer of '{name}' has {tokens} tokens, but its weights are for {weights}. Give a "
        "folder whose tokenizer and weights belong together."
    )
    E438 = (
        "[E438] {path} is at step {step} already, and no encoder was written before it was killed. Give "
        "--steps {step} or more."
    )
    E440 = (
        "[E440] Record {id!r}: a teacher cuts its text into other tokens. Train student and teacher "
        "with one tokenizer setting."
    )
    E441 = (
        "[E441] The teacher '{path}' cannot be used ({cause}). Give the folder of a trained pipeline "
        "with a multimodal_ner."
    )
    E442 = (
        "[E442] The pipeline has no multimodal_ner called {name!r}. Give a pipeline that has one."
    )
    E424 = "[E424] learn_rate_scale must be a number, 0 or more, not {value!r}. Correct the config."
    E443 = "[E443] The pipeline finds no entity in these records. Give more, or train it further."
    E445 = (
        "[E445] No entity is annotated in these records, so nothing can be fitted. Give annotated "
        "records that the pipeline was not trained on."
    )
    E444 = "[E444] {name}: teacher_weight must be from 0 to 1, not {value!r}. Correct [initialize]."
    E420 = (
        "[E420] overlap must be at least 0 and below half of max_subwords ({most}), not {found}. Change "
        "the span getter's settings."
    )
    E421 = (
        "[E421] A window of the text has more subwords than the {most} that the encoder reads at once. "
        "Lower max_subwords in the transformer's get_spans; an encoder without WordPiece makes "
        "several subwords of one character."
    )
    E422 = (
        "[E422] The encoder has no fast tokenizer, which windows need. Set use_fast = true in the "
        "transformer's tokenizer_config, or choose an encoder that has one."
    )
    E451 = "[E451] {path}: the weights of a {name} cannot be read ({cause}). Check the path."
    E452 = "[E452] The side of a photo for the segmenter must be a multiple of 16, not {size}."
    E446 = (
        "[E446] The pipeline has no tongue_encoder called {name!r}. Give a pipeline that has one."
    )
    E447 = (
        "[E447] Too few of these photos have both a tongue to be seen and a label that the pipeline "
        "tells ({least} are needed). It tells {known}. Check columns and values, or give more photos."
    )
    E448 = "[E448] {name}: the target accuracy must be above 0 and below 1, not {value!r}."
    E454 = (
        "[E454] {path}: these heads were trained on other weights of the trunk. Give the trunk they "
        "were trained with in [components.tongue_encoder.model], frozen."
    )
    E470 = (
        "[E470] This pipeline was compressed for use and cannot be trained. Train the pipeline that it "
        "was made from."
    )
    E465 = "[E465] {name}: abstain_below must be a number from 0 to 1, not {value!r}. Correct the config."
    E453 = "[E453] The segmenter has no weights. Give a file in [components.tongue_encoder.model.segmenter]."
    E461 = (
        "[E461] {path}: the tongue grammar cannot be used ({cause}). Correct it; the README beside "
        "spacy_tcm/resources/tongue.json describes its keys."
    )
    E462 = "[E462] {name}: conflict_below must be a number from 0 to 1, not {value!r}. Correct the config."
    E463 = (
        "[E463] Heat maps need the package '{name}', which is not installed: at the root of the "
        "repository, pip install '.[train]', or switch heat_maps of the tongue encoder off."
    )
    E464 = (
        "[E464] crop_only needs a tongue encoder that finds the tongue, and {name!r} takes the whole "
        "photo. Train one with [components.{name}.model.segmenter], or switch crop_only off."
    )
    E600 = (
        "[E600] {path}: the sections cannot be used ({cause}). Correct it; the README beside "
        "spacy_tcm/resources/sections.json describes its keys."
    )
    E601 = (
        "[E601] {path}: the context cues cannot be used ({cause}). Correct it; the README beside "
        "spacy_tcm/resources/context.json describes its keys."
    )
    # 5xx: command line
    E471 = (
        "[E471] The encoder's tokenizer cannot be deployed: its {part} is not that of a BERT ({found}). "
        "Choose an encoder with a plain BERT tokenizer."
    )
    E472 = (
        "[E472] A pipeline with one multimodal_ner can be deployed; this one has {count}. Deploy each "
        "by itself."
    )
    E473 = (
        "[E473] There is no graph for {name!r} (factory {found!r}), so that the pipeline would still need "
        "torch. Remove it with nlp.remove_pipe first."
    )
    E474 = (
        "[E474] The transformer cannot be deployed ({found}). What can is a BERT in "
        "spacy_tcm.WindowedTransformer.v1 with spacy_tcm.subword_windows.v1, in the same pipeline."
    )
    E475 = (
        "[E475] The tok2vec of the entity recognizer cannot be deployed ({found}). What can is a "
        "TransformerListener with reduce_mean, a spacy.Tok2Vec of MultiHashEmbed and "
        "MaxoutWindowEncoder, or both, concatenated."
    )
    E480 = (
        "[E480] {name}: heat maps need the nets as they were trained, and this pipeline was compressed "
        "for use. Switch heat_maps on in the pipeline that it was made from."
    )
    E481 = (
        "[E481] {name}: this pipeline was compressed for use, which leaves no heads that could be saved "
        "or compressed again. Use the pipeline that it was made from."
    )
    E485 = (
        "[E485] {name} cannot be quantised: no input of it was seen. Give records and photos that the "
        "pipeline uses."
    )
    E486 = (
        "[E486] This pipeline has no graphs to quantise. Deploy it first, with "
        "spacy_tcm.compress.deploy."
    )
    E487 = (
        "[E487] Without validation records, nobody can tell what INT8 loses. Give records that the "
        "pipeline was not trained on."
    )
    E490 = (
        "[E490] The budget {budget!r} is no share of the whole. Give one above 0 and at most 1, e.g. 0.6 or "
        "60%, or a size with its unit, e.g. 256MB."
    )
    E491 = (
        "[E491] The budget of {budget:,} bytes is below the least that this net takes, {least:,} bytes. Give "
        "at least that, a smaller batch, or smaller photos or shorter texts."
    )
    E492 = "[E492] Nothing would be left of {unit}. Keep at least one of its channels or heads."
    E493 = (
        "[E493] There is no importance '{method}' for this net. Choose one of {methods}; bn_scale needs "
        "batch norms."
    )
    E494 = "[E494] There is nothing to learn {method} from. Give photos that can be used, or texts."
    E496 = (
        "[E496] The search cannot go on from {path} ({cause}). Call it as it was begun, or remove the file "
        "to begin again."
    )
    E497 = (
        "[E497] The pipeline has nothing to prune in {parts}. Give a trained pipeline with a tongue_encoder, "
        "or with a transformer that is a plain BERT, or another --parts."
    )
    E498 = (
        "[E498] There is nothing to judge the {part} by: {cause}. Give {option}, with what the pipeline is "
        "to be used on."
    )
    E499 = "[E499] {option} must be {expected}, not {value!r}. Correct it."
    E501 = "[E501] There is no file or folder '{path}'. Check the path."
    E502 = (
        "[E502] '{path}' holds nothing to read. Give a file that ends in one of {suffixes}, or a "
        "folder of such files."
    )
    E503 = "[E503] The image folder '{path}' is not a folder. Check --images."
    E504 = (
        "[E504] The pipeline '{model}' cannot be loaded: {cause}. Give the folder of a trained "
        "pipeline, or the name of an installed one, with --model. The released one is installed by "
        "`pip install models/tcm_multimodal-*.whl`; to train one, run `python -m spacy project run "
        "all`, then pass --model training/model-best."
    )
    E505 = (
        "[E505] The output folder '{out}' and the input '{path}' lie inside one another, so results "
        "would be read as input or written over it. Choose another --out."
    )
    E506 = "[E506] The output folder '{out}' cannot be written: {cause}. Choose another --out."
    E507 = (
        "[E507] The image folder '{images}' lies in the output folder '{out}', so photos could be "
        "replaced by results. Choose another --out."
    )
    E508 = (
        "[E508] {option} needs a tongue_encoder, which the pipeline '{model}' does not have. Choose "
        "another --model, or leave the option out."
    )
    E510 = "[E510] The file cannot be read: {error}. Check that it exists and may be read."
    E511 = "[E511] Not valid JSON ({cause}). Each line must be one JSON object."
    E512 = (
        "[E512] The field '{field}' is not text: it holds {kind}. Put it in quotation marks, or name "
        "another field (--text-field, --id-field)."
    )
    E513 = "[E513] The id was used before. Give each record an id of its own."
    E514 = (
        "[E514] The field '{field}' has a broken character at position {position}. Save the file "
        "as UTF-8 (or GB18030) again, and look for half characters (\\ud800 to \\udfff) in JSON."
    )
    E515 = (
        "[E515] Not valid CSV ({cause}), so lines {first} to {last} were not read. Double the "
        "quotation marks inside a quoted cell, and close every quotation mark."
    )
    E516 = (
        "[E516] The first line has no column '{field}', so no record of this table was read. The "
        "first line must name the columns; say which one holds the text with --text-field."
    )
    E517 = (
        "[E517] The row (lines {first} to {last}) has {found} cells, the header {expected}. Put cells "
        "that hold commas or line breaks in quotation marks, and close every quotation mark."
    )
    E518 = "[E518] The line holds {kind}, but a JSON object is needed: {{...}}."
    E519 = "[E519] The field '{field}' is missing. Name the right one with --text-field."
    E520 = (
        "[E520] '{component}' failed on this record ({cause}). Process it alone with nlp(text) to "
        "see where, and report it if the component is part of spacy_tcm."
    )
    E531 = "[E531] {place}: `meta.tongue` cannot be rendered ({cause}). Correct the record."
    E532 = (
        "[E532] Cannot read or write {path} ({cause}). Check the path, its permissions and the free "
        "space."
    )
    E533 = "[E533] '{path}' is a file, but results need a folder there. Name another folder."
    E534 = "[E534] '{path}' is a folder, but a file is written. Name a file, e.g. in that folder."
    E535 = (
        "[E535] '{path}' may not be written by this user. Change its permissions, or name another."
    )
    E536 = (
        "[E536] This needs the package '{name}', which the light installation does not have: at the "
        "root of the repository, pip install '.[train]'."
    )
    E521 = "[E521] '{out}' holds no results. Run `python -m spacy_tcm structure` first."
    E522 = (
        "[E522] A quotation mark is opened here and never closed, so everything from line {first} to "
        "the end of the file ({count} lines) was not read. Close it, or double it if it is part of "
        "the text."
    )
    E523 = (
        "[E523] There is more than one '{field}', and which one is meant cannot be known. Rename or "
        "remove the others."
    )
    E524 = (
        "[E524] Line {line} is neither UTF-8 nor GB18030 (read as GB18030 it has private-use "
        "characters): the file is probably Big5 or another encoding, and none of it was read. Save "
        "it as UTF-8."
    )
    E525 = (
        "[E525] The memory budget of {budget} is too small for this pipeline: even the smallest batch "
        "takes more. Give at least {least}, or close what else this process holds."
    )
    E526 = "[E526] A memory budget is that of one process. Give n_process=1, or no memory budget."
    E527 = "[E527] {size!r} is no size. Give one such as '512MB', '1.5GB' or '2GiB'."
    E528 = (
        "[E528] There is not enough memory for this record, even alone and in the shortest windows. "
        "Close other programs, or split the record."
    )
    E529 = (
        "[E529] A memory budget needs a pipeline of the language 'tcm', not '{lang}'. Leave it out, or "
        "train the pipeline with lang = 'tcm'."
    )
    E580 = "[E580] There are no records at '{path}'. Run `python -m spacy_tcm structure` first."
    E581 = (
        "[E581] Line {line} of '{path}' is no record of this version. Make them again by "
        "`python -m spacy_tcm structure`."
    )
    E582 = "[E582] The FHIR bundle is not valid at {place}: {cause}. Please report this."
    E583 = "[E583] '{path}' is no folder with .txt files. Give the folder that brat keeps them in."
    E584 = (
        "[E584] '{path}' is missing: to brat, every .txt has an .ann beside it, which may be empty."
    )
    E585 = "[E585] Line {line} of '{path}' cannot be read as an annotation. Export it again."
    E586 = "[E586] Task {number} of '{path}' cannot be read. Export as JSON (not JSON-MIN) again."
    E587 = "[E587] '{path}' is not UTF-8. Save it as UTF-8."
    E588 = "[E588] The graph breaks its shapes at {path}: {cause}. Please report this."
    E590 = (
        "[E590] This needs the package '{package}': at the root of the repository, pip install "
        "'.[graph]'."
    )
    E591 = "[E591] '{path}' holds other files. Give an empty or new folder for the graph."
    E592 = "[E592] '{path}' is no graph. Make one by `python -m spacy_tcm graph`."
    E593 = (
        "[E593] The query cannot be understood: {cause}. Give SPARQL, or one of the saved queries: "
        "{known}."
    )
    E594 = "[E594] The query has no line '{line}', so that no value can be set."
    E595 = "[E595] {name} is {value}. Give a share above 0, at most 1."
    E596 = "[E596] No record has anything that a rule could be made of. Check the records."
    E597 = "[E597] A value is given as VARIABLE=TEXT, such as pattern=湿热下注证."
    E598 = "[E598] The query has no variable '{name}'. It has: {known}."
    # 61x: typed fields
    E610 = (
        "[E610] {path}: the field definitions cannot be used ({cause}). Correct the file; the README "
        "beside spacy_tcm/resources/fields.json describes its keys."
    )
    E611 = (
        "[E611] {path}: '{field}' cannot be used: {cause}. Correct it; the README beside "
        "spacy_tcm/resources/fields.json describes the keys."
    )
    E612 = (
        "[E612] {path}: the pulse grammar cannot be used ({cause}). Correct it; the README beside "
        "spacy_tcm/resources/pulse.json describes its keys."
    )

    # 62x: prescriptions and codes
    E620 = (
        "[E620] {path}: the words of prescriptions cannot be used ({cause}). Correct it; "
        "spacy_tcm/resources/README.md describes it."
    )
    E621 = (
        "[E621] {path}: the cautions cannot be used ({cause}). Correct it; "
        "spacy_tcm/resources/README.md describes it."
    )
    E630 = (
        "[E630] {path}: the code table cannot be used ({cause}). It needs UTF-8 and a header with "
        "system, code, term, and perhaps aliases and label; .csv has commas, anything else tabs."
    )
    E631 = "[E631] Code table, row {number}: {reason}. Correct or remove this row."
    E632 = "[E632] {name}: fuzzy_above must be a number from 0 to 101, not {value!r}. Correct the config."
    E635 = "[E635] There is no action '{found}'. Choose one of {actions}."
    E636 = (
        "[E636] {path}: the table of identifiers cannot be used ({cause}). Correct it; the README beside "
        "spacy_tcm/resources/deid.json describes its keys."
    )
    E637 = (
        "[E637] {path}: no key can be read there ({cause}). Give a file of at least {least} random bytes, "
        "e.g. made by `openssl rand -hex 32`."
    )
    E638 = (
        "[E638] The map '{path}' lies in the output folder '{out}', which is meant to be passed on. The map "
        "tells who everybody is: name a file elsewhere."
    )
    E639 = (
        "[E639] Names of photos are kept only where their folder is given, so that no path leads out of "
        "it: --images DIR."
    )
    E640 = (
        "[E640] {path}: the rules of relations cannot be used ({cause}). Correct them; the README beside "
        "spacy_tcm/resources/relations.json describes its keys."
    )
    E641 = '[E641] {name}: polarity must be "exclude" or "keep", not {value!r}. Correct the config.'

    # 65x: patterns
    E650 = (
        "[E650] {path}: the elements of patterns cannot be used ({cause}). Correct them; the README beside "
        "spacy_tcm/resources/syndrome_elements.json describes its keys."
    )
    E651 = (
        "[E651] {name}: no example tells a pattern (reference._.syndrome_labels) that is made of known "
        "elements. Give records with `meta.syndrome`."
    )
    E652 = "[E652] {name}: patterns cannot be added after training. Initialize it with examples of them."
    E653 = "[E653] {name} was not trained. Initialize it with examples, or load it from disk."


class Warnings:
    W401 = (
        "[W401] A Doc was not made by the LexiconTokenizer (doc._.lexicon_matches is None): the "
        "entity recogniser works without lexicon features on it. Use nlp(text) or nlp.make_doc(text)."
    )
    W402 = (
        "[W402] A Doc has a photo that no tongue encoder has looked at: its text alone is used. "
        "Enable the tongue_encoder component to use photos."
    )
    W403 = (
        "[W403] The temperature {temperature:.2f} is the last one tried, so the scores may still be off. "
        "Check that the records are annotated as the model was trained."
    )
    W404 = (
        "[W404] The pipeline finds only {count} entities in these records: a temperature fitted on "
        "under {least} is not reliable. Give more records."
    )
    W405 = (
        "[W405] The calibration error on these records has not fallen. Give more records, or keep the "
        "pipeline as it was."
    )
    W406 = (
        "[W406] {name}: left as it was, since only {count} photos have a label of it, and at least {least} "
        "are needed. Give more."
    )
    W478 = (
        "[W478] INT8 of {name} is calibrated on {count} rows of inputs; {least} are advised. Give more "
        "records or photos."
    )
    W480 = (
        "[W480] More memory was needed than the budget of {budget}, for a batch whose longest record "
        "has {length:,} characters. The results are whole; give a larger budget, or shorter records."
    )
    W501 = "[W501] The photo was not used: {reasons}"
    W502 = "[W502] The record names a photo, but no image folder was given (--images)."
    W503 = "[W503] No photo could be looked up by the id of this record: {cause}"
    W504 = (
        "[W504] The field '{field}' names no usable photo, so the text was processed without one. "
        "Give a path inside the image folder (--images), as text. Cause: {cause}"
    )
    W505 = "[W505] The field '{field}' is empty, so nothing can be found. Check the source."
    W506 = (
        "[W506] In '{source}', a quoted cell runs over lines {first} to {last} and holds lines that "
        "look like rows: several rows may have become one. Check the quotation marks."
    )
    W531 = (
        "[W531] No record of {corpus} has `meta.tongue`, so no photo was drawn. Say there what a photo "
        'would show, e.g. {{"tongue": {{"舌色": ["淡红"], "苔质": ["薄"]}}}}.'
    )


def warn_once(message: str) -> None:
    """Warn of what holds for a whole run: Python's filter shows it once per place."""
    warnings.warn(message, stacklevel=3)
