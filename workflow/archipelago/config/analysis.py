"""Sections on what is made of the objects: learning, islands, SEDs, candidates, report."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from archipelago.config.base import ByName, Identifier, Section, key

Fraction = Annotated[float, Field(ge=0, le=1)]
Redshift = Annotated[float, Field(gt=0, le=10)]
Magnitude = Annotated[float, Field(ge=0, le=10)]
AbsoluteMagnitude = Annotated[float, Field(ge=-40, le=30)]
GridClass = Literal["star", "galaxy", "quasar", "lensed"]


class Learning(Section):
    """Contrastive learning: one network per seed."""

    seeds: list[Annotated[int, Field(ge=0, le=2**31 - 1)]] = key(
        "a network is trained for each; islands and similarity are averaged", min_length=1
    )
    normalisation: Literal["asinh_noise", "brightest_pixel"] = key(
        "asinh in units of the noise, shared by the bands; or by the brightest pixel (the paper)"
    )
    softening_sigma: float = key(
        "where asinh turns from linear to logarithmic", unit="sigma of the noise", gt=0, le=1e4
    )
    scale: Literal["image", "set"] = key("one noise scale per image, or one for the set of images")
    sky: Literal["border_median", "none"] = key("what is subtracted as the sky of each band")
    aperture_arcsec: float = key(
        "pixels farther from the object fade; 0: they do not", unit="arcsec", ge=0, le=100
    )
    augmentation: Literal["physics", "paper"] = key(
        "physics: any rotation, flips, shifts, noise, blur; paper: to the letter of the paper"
    )
    crop_px: int = key("side of what the network sees", unit="px", ge=8, le=512)
    shift_max_px: float = key("largest shift", unit="px", ge=0, le=16)
    noise_max_sigma: float = key(
        "most noise added, in units of the image's own", unit="sigma", ge=0, le=10
    )
    sky_offset_max_sigma: float = key(
        "largest error of the sky added to each band, over the noise per pixel", ge=0, le=10
    )
    blur_fwhm_max_arcsec: float = key(
        "most blur added (FWHM): the square root of the difference of the squares of the survey's "
        "worst and best seeing, or less",
        unit="arcsec",
        ge=0,
        le=5,
    )
    mask_radius_min_arcsec: float = key(
        "least distance from which neighbours are replaced by noise in half of the views; 0: never",
        unit="arcsec",
        ge=0,
        le=100,
    )
    channels: list[Annotated[int, Field(ge=1, le=8192)]] = key(
        "channels of each convolution; the last is the number of features", min_length=1
    )
    kernels_px: list[Annotated[int, Field(ge=1, le=31)]] = key(
        "side of each convolution's kernel", unit="px", min_length=1
    )
    head: list[Annotated[int, Field(ge=1, le=8192)]] = key(
        "widths of the projection head's layers", min_length=1
    )
    method: Literal["nt_xent", "vicreg", "moco"] = key(
        "NT-Xent within a batch (SimCLR); VICReg; or NT-Xent against a momentum teacher"
    )
    temperature: float = key("of the NT-Xent loss", ge=1e-3, le=10)
    teacher_momentum: float = key("part of moco's teacher that stays in a step", ge=0, le=1)
    queue_size: int = key("most earlier projections that moco tells from", ge=0, le=1_048_576)
    optimiser: Literal["adamw", "sgd"] = key("how weights are moved")
    learning_rate: float = key("largest step", ge=1e-8, le=10)
    momentum: float = key("of sgd", ge=0, le=0.9999)
    weight_decay: float = key("pull of the weights to 0", ge=0, le=1)
    schedule: Literal["cosine", "constant"] = key("of the learning rate")
    warmup_epochs: int = key(
        "epochs in which the learning rate grows", unit="epochs", ge=0, le=1000
    )
    batch_size: int = key("images per step", ge=2, le=65_536)
    epochs_max: int = key("most epochs", unit="epochs", ge=0, le=10_000)
    patience: int = key("epochs without progress before it stops", unit="epochs", ge=1, le=10_000)
    min_delta: float = key("least fall of the loss that is progress", ge=0, le=10)
    precision: Literal["auto", "float32", "bfloat16"] = key(
        "auto: bfloat16 on a GPU, and on a CPU that is good at it; else float32"
    )
    devices_per_seed: int = key(
        "GPUs that one seed is trained on together; seeds train beside each other anyway",
        ge=1,
        le=64,
    )
    feature_views: Literal[1, 8] = key("8: features averaged over quarter turns and flips; 1: not")
    model: str | None = key(
        "networks trained before, in place of training: a model.pt, with {seed} in its path where "
        "there is one per seed; null: train",
        None,
    )

    @model_validator(mode="after")
    def _fits(self) -> Learning:
        if len(self.channels) != len(self.kernels_px):
            raise ValueError("channels and kernels_px need one entry each per convolution")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("the seeds must differ")
        return self


class Map(Section):
    """The 2-D map of one seed's features, to look at."""

    method: Literal["umap", "tsne", "pca"] = key("umap; t-SNE as in the paper; or two components")
    n_neighbors: int = key("neighbours of umap", ge=2, le=1000)
    min_dist: float = key("least distance of points in umap's map", ge=0, le=1)
    perplexity: float = key("of t-SNE", ge=1, le=1000)
    metric: Literal["euclidean", "cosine"] = key("distance between features")
    random_state: int = key("seed of the map", ge=0, le=2**31 - 1)


class Hdbscan(Section):
    """Clusters of one seed's features."""

    min_cluster_size: int = key("fewest objects of an island", ge=2, le=1_000_000)
    min_samples: int = key(
        "neighbours that make a dense place; more: fewer islands", ge=1, le=10_000
    )
    space: Literal["features", "pca", "umap5", "map"] = key(
        "where clusters are sought: features, their principal components, a 5-D UMAP, the 2-D map"
    )
    selection: Literal["eom", "leaf"] = key(
        "eom: the islands of most excess of mass, few and large; leaf: the smallest of the tree"
    )
    n_components: int = key("principal components, where space is pca", ge=1, le=1024)
    n_neighbors: int = key("neighbours, where space is umap5", ge=2, le=1000)
    random_state: int = key("seed, where space is umap5", ge=0, le=2**31 - 1)


class Islands(Section):
    """Maps of the features, islands, and similarity to the known quasars."""

    map: Map = key("the 2-D map of each seed")
    hdbscan: Hdbscan = key("clusters of each seed")
    weight_sed: float = key(
        "distance per nat of the SED's class probabilities, which stand beside features of "
        "length 1 where islands are sought; 0: images alone",
        ge=0,
        le=100,
    )
    consensus: Literal["joined", "co_association"] = key(
        "joined: islands of all seeds' features side by side; co_association: objects that most "
        "seeds put on one island"
    )
    consensus_threshold: Fraction = key(
        "share of the seeds in which two objects must be together to share an island, where "
        "consensus is co_association"
    )
    k_neighbours: int = key(
        "known quasars that an object's similarity is the mean of", ge=1, le=1000
    )
    centre: bool = key("whether the mean feature is subtracted before similarity is taken")


class Recognise(Section):
    """Simulated quasars that images are compared with."""

    n_simulated: int = key(
        "simulated quasars, and as many lensed ones; 0: left out", ge=0, le=1_000_000
    )
    seed: int = key("of everything random in them", ge=0, le=2**31 - 1)
    n_components: int = key(
        "principal components of each seed's features that are compared", ge=1, le=1024
    )


class Lensing(Section):
    """Shapes in the images that tell lensed quasars from single ones."""

    n_taught: int = key(
        "simulated objects of each kind that lens_log_odds is learnt from; 0: left out",
        1000,
        ge=0,
        le=1_000_000,
    )
    seed: int = key("of the classifiers and of their folds", 1, ge=0, le=2**31 - 1)


class Span(Section):
    """Values from min to max, a step apart, both ends included."""

    min: float = key("first value")
    max: float = key("last value")
    step: float = key("distance between values", gt=0)

    @model_validator(mode="after")
    def _ascending(self) -> Span:
        if self.max < self.min:
            raise ValueError("max must not be below min")
        if (self.max - self.min) / self.step > 10_000:
            raise ValueError("more than 10,000 values")
        return self


Axis = Span | Annotated[list[float], Field(min_length=1)]


class StarModels(Section):
    """Templates of stars: M0 to T9, alone and blended in WISE's beam."""

    lephare_list: str | None = key(
        "list of LePHARE's star templates, below sed/ of lephare.data, in place of the table of "
        "colours; null: the table",
        None,
    )
    giants: bool = key("whether M giants take part")
    wise_blend: Axis = key("flux in W1 of a neighbour within WISE's beam, over the star's own")
    blend_w2_over_w1: float = key("flux ratio (f_nu) of that neighbour", gt=0, le=10)


class ConstantHistory(Section):
    """Galaxies that form stars at a constant rate."""

    age_gyr: Axis = key("time since the first star", unit="Gyr")


class DelayedHistory(Section):
    """Galaxies with star formation in proportion to t exp(-t/tau)."""

    age_gyr: Axis = key("time since the first star", unit="Gyr")
    tau_gyr: Axis = key("time scale", unit="Gyr")


class RedQuasars(Section):
    """Reddened quasars at lower redshift, counted as galaxies."""

    redshift: Axis = key("redshift")
    ebv: Axis = key("E(B-V), SMC law", unit="mag")


class GalaxyModels(Section):
    """Templates of galaxies, from BAGPIPES."""

    redshift: Axis = key("redshift, at most 10")
    constant: ConstantHistory = key("constant star formation")
    delayed: DelayedHistory = key("delayed exponential star formation")
    metallicity: Axis = key("metallicity", unit="solar")
    av_mag: Axis = key("A_V, Calzetti law", unit="mag")
    torus_fraction: Axis = key("obscured active nucleus over the stars' light at 1.6 um; holds 0")
    red_quasar: RedQuasars = key("reddened quasars at lower redshift")


class QuasarModels(Section):
    """Templates of quasars at z ~ 6."""

    redshift: Axis = key("redshift")
    uv_slope: Axis = key("d ln f_nu / d ln nu of the continuum")
    line_scale: Axis = key("strength of the emission lines, over the mean quasar's")
    lya_scale: Axis = key("strength of Lyman alpha and N V, over the mean quasar's")
    ebv: Axis = key("E(B-V), SMC law; negative values are bluer than the model", unit="mag")
    bal_depth: Axis = key("share of the light that broad absorption lines take, at C IV")
    igm_scale: Axis = key("optical depth of the IGM, over the mean sight line's")


class CompositeModels(Section):
    """Which quasars and galaxies the composite pairs."""

    redshift_step: float = key("step of the quasar's redshift", gt=0, le=1)
    quasars_per_redshift: int = key("quasars that stand for all at a redshift", ge=1, le=1000)
    coarse_quasars_per_redshift: int = key(
        "the same for objects that are hardly composites", ge=1, le=1000
    )
    galaxies: int = key("galaxies that stand for all", ge=1, le=10_000)
    galaxy_redshift_max: float = key("largest redshift of the galaxy", gt=0, le=10)


class SedModels(Section):
    """Templates of all classes; an axis is a list of values, or min, max and step."""

    star: StarModels = key("stars")
    galaxy: GalaxyModels = key("galaxies")
    quasar: QuasarModels = key("quasars")
    composite: CompositeModels = key("galaxy + quasar")


class ApertureOffset(Section):
    """Light that the survey's aperture magnitudes miss, by class."""

    bands: list[Identifier] = key("bands measured in the aperture")
    star: Magnitude = key("missed of a point source", unit="mag")
    quasar: Magnitude = key("missed of a point source", unit="mag")
    lensed: Magnitude = key("missed of galaxy + quasar", unit="mag")
    galaxy: Magnitude = key("missed of a galaxy", unit="mag")


class SurveyError(Section):
    """Error that all bands of a survey share, by class, as a share of the flux."""

    groups: ByName[list[Identifier]] = key("survey: bands it measured together")
    star: Fraction = key("of stars")
    galaxy: Fraction = key("of galaxies")
    quasar: Fraction = key("of quasars")
    lensed: Fraction = key("of galaxy + quasar")

    @model_validator(mode="after")
    def _no_band_twice(self) -> SurveyError:
        bands = [band for group in self.groups.values() for band in group]
        if len(bands) != len(set(bands)):
            raise ValueError("survey_error.groups: a band can be in one group only")
        return self


class StarPrior(Section):
    """How many stars are expected."""

    latitude_deg: float = key("mean Galactic latitude of the survey", unit="deg", gt=0, le=90)
    giants_per_deg2: float = key("giants", unit="per deg2 and mag", gt=0, le=1e4)
    blend_fraction: Fraction = key("share of stars blended in WISE's beam")


class GalaxyPrior(Section):
    """How many galaxies are expected."""

    av_scale_mag: float = key("scale of the exponential in A_V", unit="mag", gt=0, le=10)
    torus_share: Fraction = key("share of galaxies with an active nucleus")
    red_quasars_per_deg2_mag: float = key(
        "reddened quasars at lower redshift", unit="per deg2 and mag", gt=0, le=1e4
    )
    red_quasar_ebv_scale_mag: float = key(
        "scale of the exponential in their E(B-V)", unit="mag", gt=0, le=10
    )


class QuasarPrior(Section):
    """How many quasars are expected."""

    density_scale: float = key("factor on the published luminosity function", gt=0, le=1e4)
    uv_slope_mean: float = key("mean slope of the continuum", ge=-3, le=3)
    uv_slope_sigma: float = key("its scatter", gt=0, le=3)
    ebv_scale_mag: float = key("scale of the exponential in E(B-V)", unit="mag", gt=0, le=10)
    bal_share: Fraction = key("share with broad absorption lines")
    igm_ln_sigma: float = key(
        "scatter of ln optical depth between sight lines, over a broad band", gt=0, le=3
    )


class LensPrior(Section):
    """How many lens galaxies are expected, and of which kind."""

    log_mass_mean: float = key("mean log10 of the stellar mass", unit="solar masses", ge=8, le=13)
    log_mass_sigma: float = key("its scatter", unit="dex", gt=0, le=3)
    redshift_mean: float = key("mean redshift", gt=0, le=5)
    redshift_sigma: float = key("its scatter", gt=0, le=5)
    av_scale_mag: float = key("scale of the exponential in A_V", unit="mag", gt=0, le=10)


class SedPriors(Section):
    """Expected numbers; sources stand in archipelago.sed.priors."""

    star: StarPrior = key("stars")
    galaxy: GalaxyPrior = key("galaxies")
    quasar: QuasarPrior = key("quasars")
    lens: LensPrior = key("lens galaxies")
    lensed_fraction: float = key("lensed quasars per quasar at the same flux", gt=0, lt=1)


class OtherDensity(Section):
    """The broad density of what no model describes."""

    density_per_deg2_mag: float = key(
        "expected number, before the catalogue is seen", unit="per deg2 and mag", gt=0, le=1e6
    )
    prior_objects: float = key("weight of that number", unit="objects", gt=0, le=1e9)
    width_mag: float = key(
        "added in quadrature to the catalogue's own scatter, per band", unit="mag", gt=0, le=10
    )
    width_small_mag: float = key(
        "scatter where a catalogue is too small to tell, per band", unit="mag", gt=0, le=10
    )
    degrees: float = key("degrees of freedom of its Student t", gt=0, le=100)


class SedFit(Section):
    """How objects are fitted and judged."""

    floor_fraction: dict[GridClass, Fraction] = key(
        "class: least error, as a share of the object's mean flux"
    )
    aperture_offset_mag: ApertureOffset = key("light that aperture magnitudes miss")
    model_error: dict[GridClass, ByName[Fraction]] = key(
        "class: band: error of the models as a share of the flux; default for other bands"
    )
    survey_error: SurveyError = key("error that the bands of a survey share")
    priors: SedPriors = key("expected numbers of each class")
    other: OtherDensity = key("what no model describes")
    memory_mb: int = key("memory for the fits; changes no result", unit="MB", ge=100, le=1_000_000)
    device: Literal["auto", "cpu", "cuda"] = key(
        "what the fits run on, which changes last digits alone; auto: a GPU if there is one"
    )

    @model_validator(mode="after")
    def _default_errors(self) -> SedFit:
        for name in ("star", "galaxy", "quasar", "lensed"):
            if "default" not in self.model_error.get(name, {}):
                raise ValueError(f"model_error.{name} needs a default")
            if name not in self.floor_fraction:
                raise ValueError(f"floor_fraction needs {name}")
        return self


class Sed(Section):
    """Spectral energy distributions of the whole catalogue."""

    passbands: ByName[str] = key("band: name of a curve in sedpy, or a file", min_length=1)
    dwarf_colours: str = key("table of the colours of M, L and T dwarfs")
    models: SedModels = key("templates of all classes")
    fit: SedFit = key("how objects are fitted and judged")


class Candidates(Section):
    """One probability per class, and one rank, from all evidence."""

    calibration: str = key("table of how the evidence is weighed", min_length=1)
    quasar_rate_factor: float = key(
        "factor on the odds of quasar or lensed quasar against the rest", gt=0, le=1e6
    )
    lensed_rate_factor: float = key(
        "factor on the odds of lensed quasar against quasar", gt=0, le=1e6
    )


class Posteriors(Section):
    """Posteriors of the first candidates."""

    shortlist: int = key("first candidates that get posteriors", ge=0, le=10_000)
    shards: int = key("jobs that they are shared among", ge=1, le=1000)
    seed: int = key("of everything random", ge=0, le=2**31 - 1)
    classes: list[Literal["star", "galaxy", "quasar", "lensed"]] = key(
        "classes fitted", min_length=1
    )
    n_live: int = key("live points for galaxies", ge=20, le=20_000)
    n_live_templates: int = key("live points for the other classes", ge=20, le=20_000)
    n_effective: int = key("effective draws at which sampling ends", ge=10, le=1_000_000)
    n_networks: int = key("neural networks per bound of the sampler", ge=0, le=64)
    max_likelihoods: int = key("likelihoods after which sampling ends anyway", ge=1000, le=10**9)
    draws: int = key("draws kept per object and class", ge=1, le=100_000)
    galaxy_history: Literal["delayed", "constant"] = key("star formation of the galaxies")
    galaxy_redshift: list[Redshift] = key("range of the galaxies", min_length=2, max_length=2)
    quasar_redshift: list[Redshift] = key("range of the quasars", min_length=2, max_length=2)

    @model_validator(mode="after")
    def _ascending(self) -> Posteriors:
        for name in ("galaxy_redshift", "quasar_redshift"):
            low, high = getattr(self, name)
            if low >= high:
                raise ValueError(f"{name} must ascend")
        if self.quasar_redshift[0] <= 3:
            raise ValueError("quasar_redshift must begin above 3, where lens galaxies end")
        return self


class Lephare(Section):
    """LePHARE on the whole catalogue."""

    data: str | None = key("folder of lephare-data, or its .tar.xz; null: left out", None)
    redshift_max: float = key("largest redshift", gt=0, le=10)
    redshift_step: float = key("step of the redshift", gt=0, le=1)
    galaxy_list: str = key("list of galaxy templates, below sed/")
    qso_list: str = key("list of quasar templates, below sed/")
    star_list: str = key("list of star templates, below sed/")
    galaxy_ebv: list[Magnitude] = key("E(B-V) of galaxies", unit="mag", min_length=1)
    qso_ebv: list[Magnitude] = key("E(B-V) of quasars", unit="mag", min_length=1)
    galaxy_law: str = key("extinction law of galaxies, below ext/")
    qso_law: str = key("extinction law of quasars, below ext/")
    galaxy_abs_mag: list[AbsoluteMagnitude] | None = key(
        "absolute magnitudes of galaxies allowed in the first band, brightest and faintest; "
        "null: any",
        unit="AB mag",
        min_length=2,
        max_length=2,
    )
    qso_abs_mag: list[AbsoluteMagnitude] | None = key(
        "the same of quasars", unit="AB mag", min_length=2, max_length=2
    )
    limits: Literal["zero", "left_out"] = key(
        "an undetected band: flux 0 with its error, or not fitted"
    )
    weighting: Literal["photon", "energy"] = key("what a passband counts")
    error_floor_mag: float = key("added in quadrature to the errors", unit="mag", ge=0, le=2)
    error_factor: float = key("factor on all errors after that", gt=0, le=100)

    @model_validator(mode="after")
    def _brightest_first(self) -> Lephare:
        for name in ("galaxy_abs_mag", "qso_abs_mag"):
            limits = getattr(self, name)
            if limits is not None and limits[0] >= limits[1]:
                raise ValueError(f"{name} must give the brightest magnitude first")
        return self


class PublishedFit(Section):
    """The published search's own fits, of some objects."""

    shortlist: int = key("first candidates fitted; 0 and no ids: left out", ge=0, le=10_000)
    ids: list[int] = key("identifiers of objects fitted besides")
    redshift: Literal["known", "free"] = key(
        "known: quasars known before are held at their redshift, others free; or all free"
    )
    starts: int = key("galaxies that searches start from", ge=10, le=1_000_000)
    seed: int = key("of everything random", ge=0, le=2**31 - 1)


class InjectionAxes(Section):
    """Range of each axis of the injected quasars."""

    quasar_mag: list[AbsoluteMagnitude] = key(
        "of all images together", unit="AB mag", min_length=2, max_length=2
    )
    redshift: list[Redshift] = key("of the quasars", min_length=2, max_length=2)
    lens_mag: list[AbsoluteMagnitude] = key(
        "of the lens galaxies", unit="AB mag", min_length=2, max_length=2
    )
    lens_redshift: list[Redshift] = key("of the lens galaxies", min_length=2, max_length=2)
    separation_arcsec: list[Annotated[float, Field(gt=0, le=20)]] = key(
        "largest distance of two images", unit="arcsec", min_length=2, max_length=2
    )
    magnification: list[Annotated[float, Field(ge=1, le=1000)]] = key(
        "of all images together", min_length=2, max_length=2
    )

    @model_validator(mode="after")
    def _ascending(self) -> InjectionAxes:
        for name in type(self).model_fields:
            low, high = getattr(self, name)
            if high <= low:
                raise ValueError(f"{name}: the second value must be above the first")
        return self


class Injections(Section):
    """Quasars painted into the run's cutouts, and which of them the search finds."""

    enabled: bool = key("whether it is done")
    n_quasars: int = key("ordinary quasars injected", ge=0, le=10_000_000)
    n_lensed: int = key("lensed quasars injected", ge=0, le=10_000_000)
    shards: int = key("jobs that they are shared among", ge=1, le=10_000)
    seed: int = key("of everything random in them", ge=0, le=2**31 - 1)
    band: Identifier = key("band that the magnitudes of the axes are of")
    axes: InjectionAxes = key("range of each axis, evenly filled")
    aperture_diameter_arcsec: float = key(
        "of the catalogue's photometry, measured in cutouts", unit="arcsec", gt=0, le=60
    )
    beam_arcsec: ByName[Annotated[float, Field(gt=0, le=120)]] = key(
        "band without images: radius within which light counts", unit="arcsec"
    )
    other_loss: Fraction = key("share lost to what the query asks beside the measured values")
    bins: int = key("per axis, in the table of completeness", ge=1, le=100)
    first: list[Annotated[int, Field(ge=1, le=10**9)]] = key(
        "lengths of the list at which completeness is stated", min_length=1
    )
    probability: Annotated[float, Field(gt=0, lt=1)] = key(
        "combined probability at which completeness is stated"
    )


class Report(Section):
    """The report."""

    candidates: int = key("unknown candidates with a card", ge=0, le=1000)
    listed: int = key("first objects of the ranking that the list holds", ge=0, le=20000)

    @model_validator(mode="after")
    def _list_holds_cards(self) -> Report:
        if self.listed < self.candidates:
            raise ValueError("listed must be at least candidates")
        return self


class Exports(Section):
    """Files of the candidates for other programs and for the telescope."""

    candidates: int = key(
        "candidates in the observing list, the regions and the finding charts", 50, ge=0, le=5000
    )
    known: bool = key("whether quasars known before are among them", False)
    bands: list[Identifier] | None = key(
        "bands whose magnitudes the observing list and the charts give; null: photometry.bands",
        None,
        min_length=1,
    )
    chart_band: Identifier | None = key(
        "band of the large image of a finding chart, one of images.bands; null: for each object "
        "the one that shows it best",
        None,
    )


class Similar(Section):
    """The objects most like one of the search."""

    n: int = key("objects shown", ge=1, le=1000)
    match_radius_arcsec: float = key(
        "largest distance of an object from a position asked for", unit="arcsec", gt=0, le=3600
    )


class Truth(Section):
    """A table of the truth that the ranking is measured against."""

    file: str | None = key(
        "table with ra_deg, dec_deg, kind, is_quasar, is_lensed, known; null: not measured", None
    )
    top: list[Annotated[int, Field(ge=1)]] = key(
        "lengths of the list at which recall is measured", min_length=1
    )
